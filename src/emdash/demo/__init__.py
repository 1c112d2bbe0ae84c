"""``emdash demo``: two photographs segmented out of core on a cluster, and checked in memory.

Uses nothing of emdash but its public names, as a user's own script would.
"""

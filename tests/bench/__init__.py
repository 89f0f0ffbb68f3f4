"""The benchmark behind ``make bench``: one run, everything side by side, told as ratios."""

"""Integers of many digits; the input is how many."""

import sys

digits = [200, 2000, 20000][int(sys.argv[1])]
number = 3**digits
while True:
    number = (number * number + 12345) % (7**digits)

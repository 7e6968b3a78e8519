"""Primes in plain Python loops; the input is how many numbers."""

import sys

count = [1000, 20000, 300000][int(sys.argv[1])]
while True:
    marks = [True] * count
    for number in range(2, int(count**0.5) + 1):
        if marks[number]:
            for multiple in range(number * number, count, number):
                marks[multiple] = False
    total = 0
    for mark in marks:
        if mark:
            total += 1

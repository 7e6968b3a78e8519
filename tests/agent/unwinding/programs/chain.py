"""A busy program whose calls are known, root to leaf: module, main, outer, inner."""


def inner(x):
    for i in range(1000):
        x = (x * 31 + i) % 1000003
    return x


def outer(x):
    return inner(x) + 1


def main():
    x = 1
    while True:
        x = outer(x)


main()

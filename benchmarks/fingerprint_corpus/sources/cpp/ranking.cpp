// std::sort and a binary search of structures; the input is how many.
#include <algorithm>
#include <cstdlib>
#include <random>
#include <vector>

struct Score { double value; int id; };
static bool better(const Score &a, const Score &b) { return a.value < b.value || (a.value == b.value && a.id < b.id); }

static void draw(std::vector<Score> &all, std::mt19937 &random) {
    std::uniform_real_distribution<double> between(0, 1);
    int id = 0;
    for (auto &one : all) one = {between(random), id++};
}
static void rank(std::vector<Score> &all) { std::sort(all.begin(), all.end(), better); }

int main(int argc, char **argv) {
    const int sizes[] = {1000, 20000, 400000};
    std::vector<Score> all(sizes[argc > 1 ? std::atoi(argv[1]) : 0]);
    std::mt19937 random(7);
    volatile long sink = 0;
    for (;;) {
        draw(all, random);
        rank(all);
        sink = sink + (std::lower_bound(all.begin(), all.end(), Score{0.5, 0}, better) - all.begin());
    }
}

// An index of strings in std::map; the input is how many keys.
#include <cstdlib>
#include <map>
#include <string>

using Index = std::map<std::string, int>;

static void insert_all(Index &index, int n) {
    for (int i = 0; i < n; i++) index["key-" + std::to_string((i * 7919L) % n)] += i;
}
static long sum_of(const Index &index) {
    long sum = 0;
    for (const auto &[key, value] : index) sum += value + static_cast<long>(key.size());
    return sum;
}
int main(int argc, char **argv) {
    const int sizes[] = {500, 5000, 60000};
    int n = sizes[argc > 1 ? std::atoi(argv[1]) : 0];
    volatile long sink = 0;
    for (;;) {
        Index index;
        insert_all(index, n);
        sink = sink + sum_of(index);
    }
}

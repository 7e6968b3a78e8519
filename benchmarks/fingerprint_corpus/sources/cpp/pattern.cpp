// std::regex over lines of a log; the input is the pattern.
#include <cstdlib>
#include <regex>
#include <string>
#include <vector>

static std::vector<std::string> lines() {
    std::vector<std::string> all;
    for (int i = 0; i < 300; i++)
        all.push_back("2026-11-0" + std::to_string(i % 9 + 1) + " host-" + std::to_string(i) + " GET /api/v1/nodes?id=" +
                      std::to_string(i * 31) + " 200 " + std::to_string(i * 17) + "ms");
    return all;
}
static int matching(const std::vector<std::string> &all, const std::regex &pattern) {
    int n = 0;
    std::smatch found;
    for (const auto &line : all) n += std::regex_search(line, found, pattern);
    return n;
}
int main(int argc, char **argv) {
    const char *patterns[] = {"GET (/[a-z0-9/]+)\\?id=(\\d+)", "(host|node)-\\d+ .* (\\d+)ms$", "[0-9]{4}-[0-9]{2}-[0-9]{2}"};
    auto all = lines();
    std::regex pattern(patterns[argc > 1 ? std::atoi(argv[1]) : 0]);
    volatile int sink = 0;
    for (;;) sink = sink + matching(all, pattern);
}

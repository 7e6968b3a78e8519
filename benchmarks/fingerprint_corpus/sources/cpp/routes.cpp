// Shortest paths with a priority queue; the input is the size of the graph.
#include <cstdlib>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

struct Edge { int to; long cost; };
using Graph = std::vector<std::vector<Edge>>;

static Graph connect(int n) {
    Graph graph(n);
    for (int i = 0; i < n; i++)
        for (int k = 1; k <= 6; k++) graph[i].push_back({static_cast<int>((i * 31L + k * 977L) % n), (i * k) % 13 + 1});
    return graph;
}
static long shortest(const Graph &graph, int from) {
    std::vector<long> cost(graph.size(), 1L << 60);
    std::priority_queue<std::pair<long, int>, std::vector<std::pair<long, int>>, std::greater<>> open;
    cost[from] = 0;
    open.push({0, from});
    while (!open.empty()) {
        auto [so_far, at] = open.top();
        open.pop();
        if (so_far > cost[at]) continue;
        for (const auto &edge : graph[at])
            if (so_far + edge.cost < cost[edge.to]) {
                cost[edge.to] = so_far + edge.cost;
                open.push({cost[edge.to], edge.to});
            }
    }
    return cost.back();
}
int main(int argc, char **argv) {
    const int sizes[] = {300, 4000, 60000};
    auto graph = connect(sizes[argc > 1 ? std::atoi(argv[1]) : 0]);
    volatile long sink = 0;
    for (int from = 0;; from = (from + 1) % static_cast<int>(graph.size())) sink = sink + shortest(graph, from);
}

// main -> alpha -> Base::beta (virtual) -> gamma, with an exception thrown and caught on the way.
#include <stdexcept>
#include <vector>

#define OWN_FRAME __attribute__((noinline))

static volatile unsigned long sink;

OWN_FRAME unsigned long gamma_(std::vector<unsigned long> &values) {
  unsigned long x = values.size();
  for (auto &value : values) x = (value = value * 6364136223846793005UL + x);
  sink = x;
  return x + 1;
}

struct Base {
  virtual ~Base() = default;
  virtual unsigned long beta(std::vector<unsigned long> &values) = 0;
};

struct Derived : Base {
  OWN_FRAME unsigned long beta(std::vector<unsigned long> &values) override {
    unsigned long x = gamma_(values) * 3;
    if (x % 4096 == 1) throw std::runtime_error("rare");
    return x + 1;
  }
};

OWN_FRAME unsigned long alpha(Base &base, std::vector<unsigned long> &values) {
  try {
    return base.beta(values) + 1;
  } catch (const std::runtime_error &) {
    return 1;
  }
}

int main() {
  Derived derived;
  std::vector<unsigned long> values(20000, 1);
  for (unsigned long x = 1;; x++) sink = alpha(derived, values) + x;
}

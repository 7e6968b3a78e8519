// A JSON parser into variants; the input is the shape of the document.
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

struct Value;
using List = std::vector<Value>;
using Object = std::map<std::string, Value>;
struct Value { std::variant<std::nullptr_t, double, std::string, std::shared_ptr<List>, std::shared_ptr<Object>> is; };

class Parser {
  public:
    explicit Parser(const std::string &text) : at_(text.c_str()) {}
    Value parse_value() {
        skip();
        if (*at_ == '{') return parse_object();
        if (*at_ == '[') return parse_array();
        if (*at_ == '"') return {parse_string()};
        return parse_number();
    }
  private:
    void skip() { while (*at_ == ' ' || *at_ == ',' || *at_ == ':' || *at_ == '\n') at_++; }
    std::string parse_string() {
        const char *from = ++at_;
        while (*at_ != '"') at_++;
        return std::string(from, at_++);
    }
    Value parse_number() {
        char *end;
        double value = std::strtod(at_, &end);
        at_ = end == at_ ? at_ + 1 : end;
        return {value};
    }
    Value parse_array() {
        auto list = std::make_shared<List>();
        for (at_++, skip(); *at_ != ']'; skip()) list->push_back(parse_value());
        at_++;
        return {list};
    }
    Value parse_object() {
        auto object = std::make_shared<Object>();
        for (at_++, skip(); *at_ != '}'; skip()) {
            std::string key = parse_string();
            (*object)[key] = parse_value();
        }
        at_++;
        return {object};
    }
    const char *at_;
};

int main(int argc, char **argv) {
    int kind = argc > 1 ? std::atoi(argv[1]) : 0;
    std::string text = "[";
    for (int i = 0; i < 1000; i++)
        text += kind == 0   ? "{\"id\": " + std::to_string(i) + ", \"name\": \"node\", \"watts\": 12.5},"
                : kind == 1 ? "[" + std::to_string(i * 0.37) + ", " + std::to_string(i) + ", 3],"
                            : "{\"labels\": {\"zone\": \"z1\", \"kind\": \"batch\"}, \"tags\": [\"a\", \"b\"]},";
    text += "]";
    volatile size_t sink = 0;
    for (;;) sink = sink + Parser(text).parse_value().is.index();
}

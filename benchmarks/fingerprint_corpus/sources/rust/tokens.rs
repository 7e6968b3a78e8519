// An expression read into a tree and worked out; the input is its shape.
enum Node {
    Number(f64),
    Pair(char, Box<Node>, Box<Node>),
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    fn number(&mut self) -> Node {
        let mut text = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_digit() || *c == '.') {
            text.push(c);
        }
        Node::Number(text.parse().unwrap_or(0.0))
    }
    fn factor(&mut self) -> Node {
        if self.rest.next_if_eq(&'(').is_some() {
            let inner = self.sum();
            self.rest.next();
            return inner;
        }
        self.number()
    }
    fn product(&mut self) -> Node {
        let mut left = self.factor();
        while let Some(sign) = self.rest.next_if(|c| *c == '*' || *c == '/') {
            left = Node::Pair(sign, Box::new(left), Box::new(self.factor()));
        }
        left
    }
    fn sum(&mut self) -> Node {
        let mut left = self.product();
        while let Some(sign) = self.rest.next_if(|c| *c == '+' || *c == '-') {
            left = Node::Pair(sign, Box::new(left), Box::new(self.product()));
        }
        left
    }
}

fn evaluate(node: &Node) -> f64 {
    match node {
        Node::Number(value) => *value,
        Node::Pair('+', a, b) => evaluate(a) + evaluate(b),
        Node::Pair('-', a, b) => evaluate(a) - evaluate(b),
        Node::Pair('*', a, b) => evaluate(a) * evaluate(b),
        Node::Pair(_, a, b) => evaluate(a) / (evaluate(b) + 1e-9),
    }
}

fn main() {
    let input: usize = std::env::args().nth(1).map_or(0, |it| it.parse().unwrap());
    let text = ["1+2*3-4/5+", "(1.5+2.25)*(3-4.125)+", "((((7*6)+5)*4)+3)/"][input].repeat(200) + "1";
    loop {
        let tree = Reader { rest: text.chars().peekable() }.sum();
        std::hint::black_box(evaluate(&tree));
    }
}

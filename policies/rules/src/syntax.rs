//! Reads one condition: the text of CEL to a tree, in which each node knows where it stands.
//!
//! Of CEL's syntax, the literals of bytes and of unsigned numbers, maps and triple quotes are left out.
//! Durations may be written as `60s` beside `duration("60s")`, which CEL does not have. Conditions come
//! from people who do not program, so a mistake that they make is answered with what to write instead.

mod lexer;

use lexer::{Lexer, Token};

/// How deep parentheses, lists and calls may be nested.
const DEEPEST: usize = 24;
/// How many sums, or names behind dots, may follow each other.
const LONGEST: usize = 24;

/// Something in a text that cannot stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where, bytes from the beginning of the text.
    pub(crate) at: usize,
    /// What is wrong and what would be right.
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    Plus,
    Minus,
    Times,
    Over,
    Remainder,
}

/// How strongly each operator binds: the later, the stronger.
const LEVELS: [&[(&str, Operator)]; 5] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("in", Operator::In),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[
        ("*", Operator::Times),
        ("/", Operator::Over),
        ("%", Operator::Remainder),
    ],
];

impl Operator {
    /// As it is written.
    pub(crate) fn sign(self) -> &'static str {
        let all = LEVELS.iter().copied().flatten();
        all.copied()
            .find(|(_, operator)| *operator == self)
            .map_or("", |(sign, _)| sign)
    }
}

/// A piece of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it stands, bytes from the beginning of the condition; of an operator, its sign.
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

impl Node {
    /// This piece and every one within it.
    pub(crate) fn visit<'n>(&'n self, see: &mut impl FnMut(&'n Self)) {
        see(self);
        match &self.kind {
            Kind::List(nodes) | Kind::Chain(_, nodes) | Kind::Call(None, _, nodes) => {
                for node in nodes {
                    node.visit(see);
                }
            }
            Kind::Call(Some(of), _, nodes) => {
                of.visit(see);
                for node in nodes {
                    node.visit(see);
                }
            }
            Kind::Field(of, _) | Kind::Not(of) | Kind::Negate(of) => of.visit(see),
            Kind::Index(a, b) | Kind::Binary(_, a, b) => {
                a.visit(see);
                b.visit(see);
            }
            Kind::Choice(a, b, c) => [a, b, c].iter().for_each(|node| node.visit(see)),
            Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Double(_)
            | Kind::Text(_)
            | Kind::Duration(_)
            | Kind::Name(_) => {}
        }
    }
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    /// Milliseconds.
    Duration(i64),
    List(Vec<Node>),
    Name(String),
    Field(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    /// A function, or a method of the first part.
    Call(Option<Box<Node>>, String, Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// Everything between `&&`, or between `||`.
    Chain(Operator, Vec<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
}

/// Reads a condition that takes up the whole text.
///
/// # Errors
///
/// The first thing that cannot stand there.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let mut parser = Parser::new(text)?;
    let node = parser.expression()?;
    match parser.token {
        Token::End => Ok(node),
        ref other => Err(Fault::new(
            parser.at,
            format!("{other} cannot stand here; an operator such as && is expected"),
        )),
    }
}

/// The milliseconds of a text such as `1h30m`; none when it is no duration.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    lexer::duration_ms(text)
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, Fault> {
        let mut parser = Self {
            lexer: Lexer::new(text),
            token: Token::End,
            at: 0,
            depth: 0,
        };
        parser.step()?;
        Ok(parser)
    }

    /// Takes the token and goes on to the next one.
    fn step(&mut self) -> Result<Token, Fault> {
        let (at, token) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn stands(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(found) if found == sign)
    }

    fn take(&mut self, sign: &str) -> Result<bool, Fault> {
        let stands = self.stands(sign);
        if stands {
            self.step()?;
        }
        Ok(stands)
    }

    fn expect(&mut self, sign: &str, what: &str) -> Result<(), Fault> {
        if self.take(sign)? {
            return Ok(());
        }
        let token = &self.token;
        Err(Fault::new(
            self.at,
            format!("{what}: `{sign}` is missing before {token}"),
        ))
    }

    fn expression(&mut self) -> Result<Node, Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Fault::new(self.at, "this is nested too deeply"));
        }
        let mut node = self.binary(0)?;
        if self.stands("?") {
            let at = self.at;
            self.step()?;
            let yes = self.binary(0)?;
            self.expect(":", "condition ? one : other")?;
            let no = self.expression()?;
            let kind = Kind::Choice(Box::new(node), Box::new(yes), Box::new(no));
            node = Node { at, kind };
        }
        self.depth -= 1;
        Ok(node)
    }

    fn operator(&self, level: usize) -> Option<Operator> {
        let Token::Sign(found) = self.token else {
            return None;
        };
        let known = LEVELS[level].iter().find(|(sign, _)| *sign == found);
        known.map(|(_, operator)| *operator)
    }

    fn binary(&mut self, level: usize) -> Result<Node, Fault> {
        if level == LEVELS.len() {
            return self.unary();
        }
        let mut left = self.binary(level + 1)?;
        let mut links = 0;
        while let Some(operator) = self.operator(level) {
            let at = self.at;
            self.step()?;
            let right = self.binary(level + 1)?;
            links += 1;
            left = match (operator, left.kind) {
                (Operator::And | Operator::Or, Kind::Chain(of, mut nodes)) if links > 1 => {
                    nodes.push(right);
                    let kind = Kind::Chain(of, nodes);
                    Node { at: left.at, kind }
                }
                (Operator::And | Operator::Or, kind) => {
                    let left = Node { at: left.at, kind };
                    let kind = Kind::Chain(operator, vec![left, right]);
                    Node { at, kind }
                }
                _ if links > LONGEST => return Err(Fault::new(at, "this is too long a chain")),
                (_, kind) => {
                    let left = Node { at: left.at, kind };
                    let kind = Kind::Binary(operator, Box::new(left), Box::new(right));
                    Node { at, kind }
                }
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, Fault> {
        let at = self.at;
        let mut signs = Vec::new();
        while self.stands("!") || self.stands("-") {
            signs.push(self.stands("!"));
            self.step()?;
            if signs.len() > DEEPEST {
                return Err(Fault::new(at, "this is nested too deeply"));
            }
        }
        let mut node = self.member()?;
        for is_not in signs.into_iter().rev() {
            let kind = match (is_not, node.kind) {
                (true, kind) => Kind::Not(Box::new(Node { at: node.at, kind })),
                (false, Kind::Int(value)) if value != i64::MIN => Kind::Int(-value),
                (false, Kind::Double(value)) => Kind::Double(-value),
                (false, Kind::Duration(value)) => Kind::Duration(-value),
                (false, kind) => Kind::Negate(Box::new(Node { at: node.at, kind })),
            };
            node = Node { at, kind };
        }
        Ok(node)
    }

    fn member(&mut self) -> Result<Node, Fault> {
        let mut node = self.primary()?;
        for _ in 0..LONGEST {
            let at = self.at;
            let of = Box::new(node);
            if self.take(".")? {
                let at = self.at;
                let Token::Name(name) = self.step()? else {
                    return Err(Fault::new(at, "behind the dot, a name is expected"));
                };
                let kind = if self.take("(")? {
                    let arguments = self.list(")", "a call ends")?;
                    Kind::Call(Some(of), name, arguments)
                } else {
                    Kind::Field(of, name)
                };
                node = Node { at, kind };
            } else if self.take("[")? {
                let index = self.expression()?;
                self.expect("]", "an index ends")?;
                let kind = Kind::Index(of, Box::new(index));
                node = Node { at, kind };
            } else {
                return Ok(*of);
            }
        }
        Err(Fault::new(self.at, "this is too long a chain"))
    }

    fn primary(&mut self) -> Result<Node, Fault> {
        let at = self.at;
        let kind = match self.step()? {
            Token::Int(value) => Kind::Int(value),
            Token::Double(value) => Kind::Double(value),
            Token::Text(value) => Kind::Text(value),
            Token::Duration(value) => Kind::Duration(value),
            Token::Name(name) => match name.as_str() {
                "true" => Kind::Bool(true),
                "false" => Kind::Bool(false),
                _ if self.take("(")? => Kind::Call(None, name, self.list(")", "a call ends")?),
                _ => Kind::Name(name),
            },
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.expect(")", "parentheses are closed")?;
                return Ok(inner);
            }
            Token::Sign("[") => Kind::List(self.list("]", "a list ends")?),
            Token::Sign("{") => return Err(Fault::new(at, "maps cannot be written here")),
            Token::End => return Err(Fault::new(at, "the condition breaks off here")),
            other @ Token::Sign(_) => {
                let message = format!("{other} cannot stand here; a value or a name is expected");
                return Err(Fault::new(at, message));
            }
        };
        Ok(Node { at, kind })
    }

    /// What stands between commas, up to `end`.
    fn list(&mut self, end: &str, what: &str) -> Result<Vec<Node>, Fault> {
        let mut nodes = Vec::new();
        while !self.stands(end) {
            nodes.push(self.expression()?);
            if !self.take(",")? {
                break;
            }
        }
        self.expect(end, what)?;
        Ok(nodes)
    }
}

//! WGSL as words, numbers and signs, and which of them may be changed.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Sign,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Its first byte.
    pub at: usize,
    pub line: usize,
    /// From 1, in bytes: shaders are ASCII outside of comments.
    pub column: usize,
    /// No change here: it would be a change of interface, or of nothing, or of what ends a loop.
    pub fixed: bool,
    /// Parts of a `for`'s head: 1, 2 and 3. 0 elsewhere.
    pub head: u8,
    /// Inside of a function's body.
    pub body: bool,
}

impl Token<'_> {
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }
}

/// After these `<` opens a list of types.
const TYPES: [&str; 9] = ["vec2", "vec3", "vec4", "mat2x2", "array", "atomic", "ptr", "bitcast", "var"];

const SIGNS: [&str; 22] = [
    "<<=", ">>=", "->", "&&", "||", "<<", ">>", "<=", ">=", "==", "!=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
    "++", "--", "::",
];

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut list: Vec<Token> = Vec::new();
    let (mut at, mut line, mut line_start, mut types) = (0, 1, 0, 0_usize);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            if first == '\n' {
                (line, line_start) = (line + 1, at);
            }
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let opens = first == '<' && list.last().is_some_and(|t| TYPES.contains(&t.text));
        types += usize::from(opens);
        let (kind, length) = if first.is_ascii_digit() {
            (Kind::Number, number_length(rest))
        } else if word(first) {
            (Kind::Word, rest.find(|c| !word(c)).unwrap_or(rest.len()))
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign) && types == 0);
            (Kind::Sign, sign.map_or(first.len_utf8(), |sign| sign.len()))
        };
        let token = &rest[..length];
        let column = at - line_start + 1;
        list.push(Token { kind, text: token, at, line, column, fixed: types > 0, head: 0, body: false });
        types -= usize::from(token == ">" && types > 0);
        at += length;
    }
    mark(&mut list);
    list
}

/// `12u`, `0x1.8p-3`, `1e-3f`: a sign belongs to it after an exponent's letter.
fn number_length(rest: &str) -> usize {
    let hex = rest.starts_with("0x");
    let mut before = ' ';
    let end = rest.find(|c: char| {
        let exponent = if hex { before == 'p' } else { before == 'e' };
        let part = c.is_ascii_alphanumeric() || c == '.' || (exponent && (c == '-' || c == '+'));
        before = c;
        !part
    });
    end.unwrap_or(rest.len())
}

/// The token that closes what the one at `open` opens.
pub(super) fn closing(list: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in list.iter().enumerate().skip(open) {
        match token.text {
            "(" | "{" | "[" => depth += 1,
            ")" | "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    list.len().saturating_sub(1)
}

/// The first of these texts from a token on.
pub(super) fn next(list: &[Token], from: usize, text: &str) -> usize {
    list.iter().skip(from).position(|t| t.text == text).map_or(list.len().saturating_sub(1), |n| from + n)
}

fn mark(list: &mut [Token]) {
    let fix = |list: &mut [Token], range: Range<usize>| list[range].iter_mut().for_each(|t| t.fixed = true);
    for i in 0..list.len() {
        match list[i].text {
            "@" => {
                let call = list.get(i + 2).is_some_and(|t| t.text == "(");
                let end = if call { closing(list, i + 2) } else { i + 1 };
                fix(list, i..(end + 1).min(list.len()));
            }
            // What is declared here is what the host knows; what ends a loop of that kind is made inside.
            "struct" | "while" | "loop" => {
                let end = closing(list, next(list, i, "{"));
                fix(list, i..end + 1);
            }
            // Their values come with the pipeline.
            "override" => {
                let end = next(list, i, ";");
                fix(list, i..end + 1);
            }
            "fn" => {
                let open = next(list, i, "{");
                fix(list, i..open);
                let end = closing(list, open);
                list[open..=end].iter_mut().for_each(|t| t.body = true);
            }
            "for" => {
                let end = closing(list, i + 1);
                let mut part = 1;
                for token in &mut list[i..=end] {
                    token.head = part;
                    part += u8::from(token.text == ";");
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_no_comparisons() {
        let texts = |text| tokens(text).iter().map(|t| (t.text.to_owned(), t.fixed)).collect::<Vec<_>>();
        let line = texts("let x = bitcast<vec4<u32>>(y) >> z < 0x1p-3; // < no");
        let fixed: Vec<_> = line.iter().filter(|(_, fixed)| *fixed).map(|(t, _)| t.as_str()).collect();
        assert_eq!(fixed, ["<", "vec4", "<", "u32", ">", ">"]);
        assert!(line.iter().any(|(t, _)| t == ">>") && line.iter().any(|(t, _)| t == "0x1p-3"));
    }

    #[test]
    fn heads_of_loops_have_three_parts() {
        let list = tokens("fn f() {\n  for (var i = 0u; i < 4u; i++) { a(i); }\n}\n");
        let heads: Vec<_> = list.iter().filter(|t| t.text == "i").map(|t| t.head).collect();
        assert_eq!(heads, [1, 2, 3, 0]);
        let less = list.iter().find(|t| t.text == "<").map(|t| (t.line, t.column));
        assert_eq!(less, Some((2, 22)));
    }
}

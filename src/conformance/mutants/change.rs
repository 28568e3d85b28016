//! The changes that make mutants of a file.

use std::ops::Range;

use super::lex::{Kind, Token, closing, next, tokens};

/// One change of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// What kind of change: selections take every kind before they take one again.
    pub class: &'static str,
    pub line: usize,
    pub column: usize,
    /// `*->+`
    pub label: String,
    bytes: Range<usize>,
    to: String,
}

impl Change {
    pub fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        text.replace_range(self.bytes.clone(), &self.to);
        text
    }
}

/// Signs between two operands, or between a variable and what it takes.
const SIGNS: [(&str, &str); 24] = [
    ("+", "-"),
    ("-", "+"),
    ("*", "+"),
    ("/", "*"),
    ("%", "/"),
    ("<", "<="),
    ("<=", "<"),
    (">", ">="),
    (">=", ">"),
    ("==", "!="),
    ("!=", "=="),
    ("&&", "||"),
    ("||", "&&"),
    ("&", "|"),
    ("|", "&"),
    ("^", "|"),
    ("<<", ">>"),
    (">>", "<<"),
    ("+=", "-="),
    ("-=", "+="),
    ("*=", "+="),
    ("|=", "&="),
    ("^=", "|="),
    ("++", "--"),
];

/// Functions that take the same.
const CALLS: [(&str, &str); 15] = [
    ("min", "max"),
    ("max", "min"),
    ("floor", "ceil"),
    ("ceil", "floor"),
    ("round", "trunc"),
    ("trunc", "round"),
    ("all", "any"),
    ("any", "all"),
    ("true", "false"),
    ("false", "true"),
    ("atomicAdd", "atomicSub"),
    ("atomicMax", "atomicMin"),
    ("atomicMin", "atomicMax"),
    ("atomicOr", "atomicAnd"),
    ("firstTrailingBit", "firstLeadingBit"),
];

/// Names that are taken for one another.
const NAMES: [(&str, &str); 24] = [
    ("row", "lane"),
    ("lane", "local"),
    ("local", "lane"),
    ("rows", "cols"),
    ("cols", "rows"),
    ("src_offset", "dst_offset"),
    ("dst_offset", "src_offset"),
    ("src_stride", "dst_stride"),
    ("dst_stride", "src_stride"),
    ("low", "high"),
    ("high", "low"),
    ("first", "row"),
    ("first", "step"),
    ("token", "choice"),
    ("choice", "token"),
    ("expert", "token"),
    ("a", "b"),
    ("b", "a"),
    ("sum", "error"),
    ("index", "row"),
    ("slot", "expert"),
    ("quad", "row"),
    ("column", "row"),
    ("value", "index"),
];

const KEYWORDS: [&str; 13] = [
    "return",
    "if",
    "else",
    "let",
    "var",
    "const",
    "for",
    "while",
    "loop",
    "switch",
    "case",
    "default",
    "const_assert",
];

/// Every change there is, from the first to the last.
pub(super) fn changes(text: &str) -> Vec<Change> {
    let list = tokens(text);
    (0..list.len()).filter(|&i| !list[i].fixed).flat_map(|i| at(text, &list, i)).collect()
}

fn at(text: &str, list: &[Token], i: usize) -> Vec<Change> {
    let token = &list[i];
    let mut all = Vec::new();
    let mut add = |class, label: String, bytes, to| {
        all.push(Change { class, line: token.line, column: token.column, label, bytes, to });
    };
    let mut replace = |class, to: String| add(class, format!("{}->{to}", token.text), token.range(), to);
    let before = i.checked_sub(1).and_then(|b| list.get(b));
    let follows = |text| list.get(i + 1).is_some_and(|t| t.text == text);
    let is_after = |text| before.is_some_and(|t| t.text == text);
    // A loop must end: its head's condition may take one turn more, its start and its step may be greater.
    match (token.head, token.kind) {
        (2, Kind::Sign) if token.text == "<" => replace("compare", "<=".into()),
        (1, Kind::Number) if rises(list, i) => replace("number", more(token.text)),
        (3, Kind::Number) if rises(list, i) && (is_after("+=") || is_after("*=") || is_after("/=")) => {
            replace("number", more(token.text));
        }
        (1..=3, _) => return all,
        (_, Kind::Number) => replace("number", other_number(token)),
        (_, Kind::Sign) => {
            let operand = before
                .is_some_and(|t| t.kind != Kind::Sign && !KEYWORDS.contains(&t.text) || t.text == ")" || t.text == "]");
            let class = match token.text {
                "<" | "<=" | ">" | ">=" | "==" | "!=" => "compare",
                "&&" | "||" => "logic",
                "&" | "|" | "^" | "<<" | ">>" => "bits",
                _ => "arithmetic",
            };
            for (_, to) in SIGNS.iter().filter(|(from, _)| operand && *from == token.text) {
                replace(class, (*to).into());
            }
            if token.text == "!" || (token.text == "-" && !operand) {
                add("logic", format!("{}->", token.text), token.range(), " ".into());
            }
        }
        (_, Kind::Word) => {
            let member = is_after(".");
            if member && token.text.chars().all(|c| "xyzw".contains(c)) {
                let other = match token.text {
                    "x" => "y".into(),
                    "y" => "x".into(),
                    "z" => "w".into(),
                    "w" => "z".into(),
                    several => several.chars().rev().collect(),
                };
                if other != token.text {
                    replace("swizzle", other);
                }
            }
            let declared = ["fn", "let", "var", "const", ">"].iter().any(|t| is_after(*t));
            let calls = CALLS.iter().filter(|(from, _)| !member && *from == token.text).map(|(_, to)| ("call", *to));
            let names = NAMES.iter().filter(|(from, _)| *from == token.text && !declared).map(|(_, to)| ("name", *to));
            for (class, to) in calls.chain(names) {
                replace(class, to.into());
            }
            if token.text == "select" && follows("(") {
                let parts = arguments(list, i + 1);
                if let [a, b, ..] = &parts[..] {
                    let (a_text, b_text) = (&text[a.clone()], &text[b.clone()]);
                    let between = &text[a.end..b.start];
                    add("select", "select->swapped".into(), a.start..b.end, format!("{b_text}{between}{a_text}"));
                }
            }
            if token.text == "if" && follows("(") {
                let inside = list[i + 1].range().end..list[closing(list, i + 1)].at;
                let to = format!("!({})", &text[inside.clone()]);
                add("logic", "if->unless".into(), inside, to);
            }
            let starts = before.is_some_and(|t| ["{", "}", ";"].contains(&t.text));
            let bare = ["return", "continue"].contains(&token.text) && follows(";");
            if token.body && starts && (bare || !KEYWORDS.contains(&token.text)) {
                let end = next(list, i, ";");
                let class = if token.text.ends_with("Barrier") { "barrier" } else { "drop" };
                add(class, format!("drop-{}", token.text), token.at..list[end].at, String::new());
            }
        }
    }
    all
}

/// Whether a loop's condition is that its counter is below something, or above 0 where it is divided.
fn rises(list: &[Token], i: usize) -> bool {
    let start = (0..=i).rev().find(|&b| list[b].text == "for").unwrap_or(i);
    let head = &list[start..=closing(list, (start + 1).min(list.len() - 1))];
    let condition = |text: &str| head.iter().any(|t| t.head == 2 && t.text == text);
    let step = |text: &str| head.iter().any(|t| t.head == 3 && t.text == text);
    (condition("<") && (step("+=") || step("++") || step("*="))) || (condition(">") && step("/="))
}

/// The arguments of a call whose bracket this is, as ranges of the text.
fn arguments(list: &[Token], open: usize) -> Vec<Range<usize>> {
    let (end, mut parts, mut from, mut depth) = (closing(list, open), Vec::new(), open + 1, 0);
    for i in open + 1..=end {
        match list[i].text {
            "(" | "[" => depth += 1,
            ")" | "]" if i < end => depth -= 1,
            // Lists of types have commas too, and are fixed.
            "," if depth > 0 || list[i].fixed => {}
            "," | ")" => {
                if from < i {
                    parts.push(list[from].at..list[i - 1].range().end);
                }
                from = i + 1;
            }
            _ => {}
        }
    }
    parts
}

/// A whole number and one more.
fn more(text: &str) -> String {
    let digits = text.trim_end_matches(['u', 'i']);
    let suffix = &text[digits.len()..];
    match digits.parse::<u64>() {
        Ok(n) => format!("{}{suffix}", n + 1),
        Err(_) => other_hex(text),
    }
}

fn other_number(token: &Token) -> String {
    let text = token.text;
    if let Some(digits) = text.strip_prefix("0x") {
        return match digits.find('p') {
            Some(exponent) => other_hex_float(digits, exponent),
            None => other_hex(text),
        };
    }
    let fraction = text.contains(['.', 'e']) || text.ends_with(['f', 'h']);
    if !fraction {
        return more(text);
    }
    let digits = text.trim_end_matches(['f', 'h']);
    let suffix = &text[digits.len()..];
    match digits.parse::<f64>() {
        Ok(0.0) => format!("1.0{suffix}"),
        // 2^-10 of it.
        Ok(x) => format!("{:?}{suffix}", x * 1.000_976_562_5),
        Err(_) => text.into(),
    }
}

/// The second lowest of its hexadecimal digits, or the only one, with a bit flipped: which one, the value says.
fn other_hex(text: &str) -> String {
    let digits = text.trim_start_matches("0x").trim_end_matches(['u', 'i']);
    let suffix = if text.ends_with('u') { "u" } else { "" };
    match u64::from_str_radix(digits, 16) {
        Ok(n) => {
            let bit = n.count_ones() as usize % (4 * digits.len()).min(32);
            format!("{:#x}{suffix}", n ^ (1 << bit))
        }
        Err(_) => text.into(),
    }
}

/// The third digit of the fraction another: 2^-10 of the unit.
fn other_hex_float(digits: &str, exponent: usize) -> String {
    let (mantissa, power) = digits.split_at(exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut fraction: Vec<char> = format!("{fraction:0<3}").chars().collect();
    if let Some(digit) = fraction.get(2).and_then(|c| c.to_digit(16)) {
        fraction[2] = char::from_digit(digit ^ 4, 16).unwrap_or('0');
    }
    format!("0x{whole}.{}{power}", fraction.into_iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        changes(text).into_iter().map(|c| c.label).collect()
    }

    #[test]
    fn what_changes() {
        let text =
            "fn f(a: vec2<u32>) -> u32 {\n    x.y = select(g(a, 1u), b, -c < 0.5);\n    workgroupBarrier();\n}\n";
        let all = labels(text);
        for label in ["drop-x", "y->x", "select->swapped", "1u->2u", "-->", "<-><=", "0.5->0.50048828125", "a->b"] {
            let found = all.iter().any(|l| l == label);
            assert!(found, "{label}: {all:?}");
        }
        assert!(all.contains(&"drop-workgroupBarrier".to_owned()));
        let swapped = changes(text).into_iter().find(|c| c.class == "select").map(|c| c.apply(text));
        assert_eq!(swapped.as_deref(), Some(&*text.replace("g(a, 1u), b", "b, g(a, 1u)")));
    }

    #[test]
    fn loops_end() {
        let text = "fn f() { for (var i = 2u; i < n; i += 4u) { g(); } for (var i = k; i != 0u; i &= i - 1u) { } }";
        assert_eq!(labels(text), ["2u->3u", "<-><=", "4u->5u", "drop-g"]);
        assert_eq!(labels("fn f() { while (a < b) { a += 1u; } }"), Vec::<String>::new());
    }

    #[test]
    fn numbers() {
        assert_eq!(other_hex_float("1.715476p+0", 8), "0x1.711476p+0");
        assert_eq!(other_hex_float("1p-3", 1), "0x1.004p-3");
        assert_eq!(other_hex("0x7fffffffu"), "0xffffffffu");
        assert_eq!(more("7u"), "8u");
    }
}

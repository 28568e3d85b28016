//! Questions with an answer of one word: what an operation gives for operands at which implementations part.

use serde::Serialize;

use super::device::Bench;
use crate::host::HostError;

/// The operations, by the names that the shader's cases have.
pub(super) const OPERATIONS: &[&str] = &[
    "FMA",
    "MULTIPLY_ADD",
    "ONE_PLUS",
    "SUM_LESS",
    "ROUNDED",
    "PRODUCT_OVER",
    "ADD",
    "SUBTRACT",
    "MULTIPLY",
    "DIVIDE",
    "LESS_ITSELF",
    "TIMES_ZERO",
    "PLUS_ZERO",
    "ZERO_LESS",
    "NEGATE",
    "UNEQUAL_ITSELF",
    "EQUAL_ITSELF",
    "LESS",
    "NOT_AT_LEAST",
    "GREATER",
    "MAX",
    "MIN",
    "CLAMP",
    "SELECT",
    "EXP",
    "LOG",
    "SQRT",
    "INVERSE_SQRT",
    "TANH",
    "POW",
    "ROUND",
    "TO_U32",
    "TO_I32",
    "FROM_U32",
    "PACK_HALF",
    "UNPACK_HALF",
    "SHIFT_LEFT",
    "SHIFT_RIGHT",
    "SHIFT_RIGHT_SIGNED",
    "MULTIPLY_U32",
    "DIVIDE_U32",
    "REMAINDER_U32",
    "DIVIDE_I32",
];

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Whether products are fused with sums, and sums taken in another order.
    Contraction,
    /// Where sums, products and conversions round to.
    Rounding,
    /// Numbers below 2^-126.
    Subnormal,
    /// -0.
    Zero,
    /// NaN in arithmetic, comparisons and functions.
    Nan,
    /// Infinities, and where functions have them.
    Infinity,
    /// f32 to integers and back.
    Conversion,
    /// 16-bit floats.
    Half,
    /// Integers.
    Integer,
}

impl Topic {
    pub(super) const ALL: [(Self, &'static str); 9] = [
        (Self::Contraction, "fusing and reordering"),
        (Self::Rounding, "rounding"),
        (Self::Subnormal, "subnormal numbers"),
        (Self::Zero, "the sign of zero"),
        (Self::Nan, "NaN"),
        (Self::Infinity, "infinities"),
        (Self::Conversion, "conversions"),
        (Self::Half, "16-bit floats"),
        (Self::Integer, "integers"),
    ];
}

/// What the device gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What it is about.
    pub topic: Topic,
    /// The expression and its operands.
    pub question: &'static str,
    /// The word.
    pub bits: u32,
    /// What the word says: `fused`, `flushed`, or a number.
    pub answer: String,
}

/// How a word is to be read that has no name of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Hex,
    Signed,
    Truth,
}

struct Question {
    topic: Topic,
    text: &'static str,
    operation: &'static str,
    operands: [u32; 3],
    kind: Kind,
    meanings: &'static [(u32, &'static str)],
}

const fn bits(x: f32) -> u32 {
    x.to_bits()
}

const NAN: u32 = 0x7fc0_0000;
const INFINITY: u32 = 0x7f80_0000;
const MINUS: u32 = 0x8000_0000;
const ONE: u32 = bits(1.0);
const TWO: u32 = bits(2.0);
/// 2^-24.
const TINY: u32 = 0x3380_0000;

const fn ask(topic: Topic, text: &'static str, operation: &'static str, operands: [u32; 3], kind: Kind) -> Question {
    Question { topic, text, operation, operands, kind, meanings: &[] }
}

const fn named(
    topic: Topic,
    text: &'static str,
    operation: &'static str,
    operands: [u32; 3],
    meanings: &'static [(u32, &'static str)],
) -> Question {
    Question { topic, text, operation, operands, kind: Kind::Float, meanings }
}

/// (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24; the product alone rounds it away.
const SQUARED: [u32; 3] = [0x3f80_0800, 0x3f80_0800, 0xbf80_1000];
const FUSED: &[(u32, &str)] = &[(0, "not fused"), (TINY, "fused")];
const SUM: &[(u32, &str)] = &[(0, "in order"), (0x3080_0000, "reordered")];
const KEPT: &[(u32, &str)] = &[(0, "flushed"), (MINUS, "flushed")];
const NEAREST: &[(u32, &str)] = &[(ONE, "to even"), (ONE + 1, "up")];
const NEAREST_ODD: &[(u32, &str)] = &[(ONE + 2, "to even"), (ONE + 1, "down")];
const SIGN: &[(u32, &str)] = &[(MINUS, "-0"), (0, "+0")];

use Kind::{Float, Hex, Signed, Truth};
use Topic::{Contraction, Conversion, Half, Infinity, Integer, Nan, Rounding, Subnormal, Zero};

const QUESTIONS: &[Question] = &[
    named(Contraction, "fma(a, b, c)", "FMA", SQUARED, FUSED),
    named(Contraction, "a * b + c", "MULTIPLY_ADD", SQUARED, FUSED),
    named(Contraction, "1 + (a + b), a = -1, b = 2^-30", "ONE_PLUS", [MINUS | ONE, 0x3080_0000, 0], SUM),
    named(Contraction, "1 + (a + b), a = 2^-30, b = -1", "ONE_PLUS", [0x3080_0000, MINUS | ONE, 0], SUM),
    named(
        Contraction,
        "(a + b) - a, a = 2^24, b = 0.5",
        "SUM_LESS",
        [bits(16_777_216.0), bits(0.5), 0],
        &[(0, "in order"), (bits(0.5), "simplified to b")],
    ),
    named(
        Contraction,
        "(a + r) - r, a = 2.25, r = 1.5 * 2^23",
        "ROUNDED",
        [bits(2.25), 0, 0],
        &[(TWO, "in order"), (bits(2.25), "simplified to a")],
    ),
    named(
        Contraction,
        "(a * b) / b, a = 2, b = 2^127",
        "PRODUCT_OVER",
        [TWO, 0x7f00_0000, 0],
        &[(INFINITY, "in order"), (TWO, "simplified to a")],
    ),
    named(Rounding, "1 + 2^-24, a tie", "ADD", [ONE, TINY, 0], NEAREST),
    named(Rounding, "(1 + 2^-23) + 2^-24, a tie", "ADD", [ONE + 1, TINY, 0], NEAREST_ODD),
    named(
        Rounding,
        "1 + 0x1.000002p-24, above a tie",
        "ADD",
        [ONE, TINY + 1, 0],
        &[(ONE + 1, "nearest"), (ONE, "down")],
    ),
    named(
        Rounding,
        "(1 + 2^-12) * (1 + 2^-12), a tie",
        "MULTIPLY",
        [0x3f80_0800, 0x3f80_0800, 0],
        &[(0x3f80_1000, "to even"), (0x3f80_1001, "up")],
    ),
    ask(Rounding, "round(0.5)", "ROUND", [bits(0.5), 0, 0], Float),
    ask(Rounding, "round(2.5)", "ROUND", [bits(2.5), 0, 0], Float),
    named(Subnormal, "2^-130 * 2^24, an operand", "MULTIPLY", [0x0008_0000, 0x4b80_0000, 0], KEPT),
    named(Subnormal, "2^-127 + 2^-127, both operands", "ADD", [0x0040_0000, 0x0040_0000, 0], KEPT),
    named(Subnormal, "2^-100 * 2^-40, a product", "MULTIPLY", [0x0d80_0000, 0x2b80_0000, 0], KEPT),
    named(Subnormal, "1.5 * 2^-126 - 2^-126, a difference", "SUBTRACT", [0x00c0_0000, 0x0080_0000, 0], KEPT),
    named(Subnormal, "2^-100 / 2^40, a quotient", "DIVIDE", [0x0d80_0000, 0x5380_0000, 0], KEPT),
    named(Subnormal, "exp(-90)", "EXP", [bits(-90.0), 0, 0], KEPT),
    ask(Subnormal, "2^-149 > 0", "GREATER", [1, 0, 0], Truth),
    named(Subnormal, "max(2^-149, 0)", "MAX", [1, 0, 0], KEPT),
    named(Subnormal, "select(0, a, a > 0), a = 2^-149", "SELECT", [1, 0, 0], KEPT),
    named(Zero, "-0 * 1", "MULTIPLY", [MINUS, ONE, 0], SIGN),
    named(Zero, "-0 + 0.0, +0 by IEEE 754", "PLUS_ZERO", [MINUS, 0, 0], SIGN),
    named(Zero, "0.0 - 0, +0 by IEEE 754", "ZERO_LESS", [0, 0, 0], SIGN),
    named(Zero, "-(0)", "NEGATE", [0, 0, 0], SIGN),
    named(Zero, "max(-0, +0)", "MAX", [MINUS, 0, 0], SIGN),
    named(Zero, "max(+0, -0)", "MAX", [0, MINUS, 0], SIGN),
    named(Zero, "min(+0, -0)", "MIN", [0, MINUS, 0], SIGN),
    ask(Nan, "NaN != NaN", "UNEQUAL_ITSELF", [NAN, 0, 0], Truth),
    ask(Nan, "NaN == NaN", "EQUAL_ITSELF", [NAN, 0, 0], Truth),
    ask(Nan, "NaN < 1", "LESS", [NAN, ONE, 0], Truth),
    ask(Nan, "!(NaN >= 1)", "NOT_AT_LEAST", [NAN, ONE, 0], Truth),
    ask(Nan, "max(NaN, 1)", "MAX", [NAN, ONE, 0], Float),
    ask(Nan, "max(1, NaN)", "MAX", [ONE, NAN, 0], Float),
    ask(Nan, "min(NaN, 1)", "MIN", [NAN, ONE, 0], Float),
    ask(Nan, "min(1, NaN)", "MIN", [ONE, NAN, 0], Float),
    ask(Nan, "clamp(NaN, 1, 2)", "CLAMP", [NAN, ONE, TWO], Float),
    ask(Nan, "select(1, NaN, NaN > 1)", "SELECT", [NAN, ONE, 0], Float),
    ask(Nan, "NaN + 1, payload 0x12345", "ADD", [0x7fc1_2345, ONE, 0], Hex),
    ask(Nan, "signalling NaN * 1, payload 0x12345", "MULTIPLY", [0x7f81_2345, ONE, 0], Hex),
    ask(Nan, "NaN - NaN, the same", "LESS_ITSELF", [NAN, 0, 0], Float),
    ask(Nan, "NaN * 0.0", "TIMES_ZERO", [NAN, 0, 0], Float),
    ask(Nan, "exp(NaN)", "EXP", [NAN, 0, 0], Float),
    ask(Nan, "log(-1)", "LOG", [MINUS | ONE, 0, 0], Float),
    ask(Nan, "sqrt(-1)", "SQRT", [MINUS | ONE, 0, 0], Float),
    ask(Nan, "0 / 0", "DIVIDE", [0, 0, 0], Float),
    ask(Infinity, "inf - inf, the same", "LESS_ITSELF", [INFINITY, 0, 0], Float),
    ask(Infinity, "inf + -inf", "ADD", [INFINITY, MINUS | INFINITY, 0], Float),
    ask(Infinity, "inf * 0.0", "TIMES_ZERO", [INFINITY, 0, 0], Float),
    ask(Infinity, "2^127 + 2^127", "ADD", [0x7f00_0000, 0x7f00_0000, 0], Float),
    ask(Infinity, "1 / 0", "DIVIDE", [ONE, 0, 0], Float),
    ask(Infinity, "1 / -0", "DIVIDE", [ONE, MINUS, 0], Float),
    ask(Infinity, "exp(inf)", "EXP", [INFINITY, 0, 0], Float),
    ask(Infinity, "exp(-inf)", "EXP", [MINUS | INFINITY, 0, 0], Float),
    ask(Infinity, "exp(89)", "EXP", [bits(89.0), 0, 0], Float),
    ask(Infinity, "log(0)", "LOG", [0, 0, 0], Float),
    ask(Infinity, "log(inf)", "LOG", [INFINITY, 0, 0], Float),
    ask(Infinity, "inverseSqrt(0)", "INVERSE_SQRT", [0, 0, 0], Float),
    ask(Infinity, "tanh(100)", "TANH", [bits(100.0), 0, 0], Float),
    ask(Infinity, "tanh(inf)", "TANH", [INFINITY, 0, 0], Float),
    ask(Infinity, "pow(0, 0)", "POW", [0, 0, 0], Float),
    ask(Conversion, "u32(NaN)", "TO_U32", [NAN, 0, 0], Hex),
    ask(Conversion, "u32(-1)", "TO_U32", [MINUS | ONE, 0, 0], Hex),
    ask(Conversion, "u32(2^32)", "TO_U32", [bits(4_294_967_296.0), 0, 0], Hex),
    ask(Conversion, "u32(inf)", "TO_U32", [INFINITY, 0, 0], Hex),
    ask(Conversion, "i32(NaN)", "TO_I32", [NAN, 0, 0], Hex),
    ask(Conversion, "i32(3e9)", "TO_I32", [bits(3e9), 0, 0], Hex),
    ask(Conversion, "i32(-3e9)", "TO_I32", [bits(-3e9), 0, 0], Hex),
    ask(Conversion, "f32(2^24 + 1), a tie", "FROM_U32", [0x0100_0001, 0, 0], Float),
    ask(Conversion, "f32(2^24 + 3), a tie", "FROM_U32", [0x0100_0003, 0, 0], Float),
    ask(Half, "pack2x16float(1 + 2^-11), a tie", "PACK_HALF", [0x3f80_1000, 0, 0], Hex),
    ask(Half, "pack2x16float(1 + 3 * 2^-11), a tie", "PACK_HALF", [0x3f80_3000, 0, 0], Hex),
    ask(Half, "pack2x16float(65519)", "PACK_HALF", [bits(65519.0), 0, 0], Hex),
    ask(Half, "pack2x16float(65520)", "PACK_HALF", [bits(65520.0), 0, 0], Hex),
    ask(Half, "pack2x16float(inf)", "PACK_HALF", [INFINITY, 0, 0], Hex),
    ask(Half, "pack2x16float(NaN)", "PACK_HALF", [NAN, 0, 0], Hex),
    ask(Half, "pack2x16float(2^-24)", "PACK_HALF", [TINY, 0, 0], Hex),
    named(Half, "unpack2x16float(0x0001), subnormal", "UNPACK_HALF", [1, 0, 0], &[(0, "flushed"), (TINY, "kept")]),
    ask(Integer, "1 << 33", "SHIFT_LEFT", [1, 33, 0], Hex),
    ask(Integer, "0x80000000 >> 32", "SHIFT_RIGHT", [MINUS, 32, 0], Hex),
    ask(Integer, "-8 >> 33", "SHIFT_RIGHT_SIGNED", [-8i32 as u32, 33, 0], Signed),
    ask(Integer, "0xffffffff * 0xffffffff", "MULTIPLY_U32", [u32::MAX, u32::MAX, 0], Hex),
    ask(Integer, "7 / 0, u32", "DIVIDE_U32", [7, 0, 0], Hex),
    ask(Integer, "7 % 0, u32", "REMAINDER_U32", [7, 0, 0], Hex),
    ask(Integer, "-7 / 0, i32", "DIVIDE_I32", [-7i32 as u32, 0, 0], Signed),
    ask(Integer, "-2^31 / -1, i32", "DIVIDE_I32", [MINUS, u32::MAX, 0], Signed),
];

/// Words that a load and a store of f32 should not change.
const COPIES: [(Topic, &str, u32); 5] = [
    (Subnormal, "load and store of 2^-149", 1),
    (Subnormal, "load and store of -2^-130", MINUS | 0x0008_0000),
    (Zero, "load and store of -0", MINUS),
    (Nan, "load and store of a quiet NaN", 0x7fc1_2345),
    (Nan, "load and store of a signalling NaN", 0x7f81_2345),
];

/// f16 operands: a product and a sum that are subnormal, a tie, an overflow.
const HALVES: [([u16; 2], [&str; 2]); 3] = [
    ([0x0400, 0x3800], ["f16: 2^-14 * 0.5", "f16: 2^-14 + 0.5"]),
    ([0x0001, 0x0001], ["f16: 2^-24 * 2^-24", "f16: 2^-24 + 2^-24"]),
    ([0x7bff, 0x4000], ["f16: 65504 * 2", "f16: 65504 + 2"]),
];

/// Asks everything; of the device's own f16 only if it has it.
pub(super) fn asked(bench: &Bench<'_>, f16: bool) -> Result<Vec<Answer>, HostError> {
    let operation = |name: &str| OPERATIONS.iter().position(|o| *o == name).unwrap_or(OPERATIONS.len()) as u32;
    let words: Vec<[u32; 4]> =
        QUESTIONS.iter().map(|q| [operation(q.operation), q.operands[0], q.operands[1], q.operands[2]]).collect();
    let answered = bench.answers(&words)?;
    let mut all: Vec<Answer> = QUESTIONS.iter().zip(answered).map(|(q, bits)| q.answer(bits)).collect();
    let copied = bench.copied(&COPIES.map(|(_, _, word)| word))?;
    for ((topic, question, word), bits) in COPIES.into_iter().zip(copied) {
        let answer = if bits == word { "kept".to_owned() } else { format!("{bits:#010x}") };
        all.push(Answer { topic, question, bits, answer });
    }
    if f16 {
        let results = bench.half(&HALVES.map(|(operands, _)| operands))?;
        for ((_, questions), word) in HALVES.into_iter().zip(results) {
            for (question, bits) in questions.into_iter().zip([word & 0xffff, word >> 16]) {
                let answer = format!("{:e}", half::f16::from_bits(bits as u16).to_f32());
                all.push(Answer { topic: Half, question, bits, answer });
            }
        }
    }
    all.sort_by_key(|a| a.topic);
    Ok(all)
}

impl Question {
    fn answer(&self, bits: u32) -> Answer {
        let known = self.meanings.iter().find(|(word, _)| *word == bits).map(|(_, meaning)| (*meaning).to_owned());
        let kept = || if self.meanings == KEPT { "kept".to_owned() } else { self.kind.text(bits) };
        Answer { topic: self.topic, question: self.text, bits, answer: known.unwrap_or_else(kept) }
    }
}

impl Kind {
    fn text(self, bits: u32) -> String {
        let x = f32::from_bits(bits);
        match self {
            Self::Float if x.is_nan() => "NaN".to_owned(),
            Self::Float if x != 0.0 && !(1e-4..1e8).contains(&x.abs()) && x.is_finite() => format!("{x:e}"),
            Self::Float => x.to_string(),
            Self::Hex => format!("{bits:#x}"),
            Self::Signed => (bits as i32).to_string(),
            Self::Truth => (bits != 0).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case for every name, and a name for every question; names of questions are all different.
    #[test]
    fn operations_have_a_case() {
        let text = crate::shader::fragment!("probe/operations").text;
        let functions = crate::shader::fragment!("probe/functions").text;
        for name in OPERATIONS {
            assert!(text.contains(&format!("case {name}: ")), "{name}");
            assert!(QUESTIONS.iter().any(|q| q.operation == *name), "{name} is not asked");
        }
        for name in super::super::functions::NAMES {
            assert!(functions.contains(&format!("case {name}: ")), "{name}");
        }
        let mut texts = std::collections::BTreeSet::new();
        for q in QUESTIONS {
            assert!(OPERATIONS.contains(&q.operation), "{}", q.operation);
            assert!(texts.insert(q.text), "{}", q.text);
        }
    }

    /// The operands part what they are to part: the CPU computes both ways.
    #[test]
    fn operands_are_argued() {
        let [a, b, c] = SQUARED.map(f32::from_bits);
        assert_eq!((a.mul_add(b, c).to_bits(), (a * b + c).to_bits()), (TINY, 0));
        let small = f32::from_bits(0x3080_0000);
        assert_eq!((1.0 + (-1.0 + small), (1.0 + -1.0) + small), (0.0, small));
        assert_eq!((1.0 + f32::from_bits(TINY)).to_bits(), ONE);
        assert_eq!((f32::from_bits(ONE + 1) + f32::from_bits(TINY)).to_bits(), ONE + 2);
        assert_eq!((a * b).to_bits(), 0x3f80_1000);
    }

    #[test]
    fn answers_have_names() {
        let of = |text: &str, bits| QUESTIONS.iter().find(|q| q.text == text).unwrap().answer(bits).answer;
        assert_eq!([0, TINY].map(|b| of("a * b + c", b)), ["not fused", "fused"]);
        assert_eq!([0, 0x200].map(|b| of("2^-100 * 2^-40, a product", b)), ["flushed", "kept"]);
        assert_eq!(of("max(NaN, 1)", NAN), "NaN");
        assert_eq!(of("exp(inf)", INFINITY), "inf");
        assert_eq!(of("-0 * 1", MINUS), "-0");
        assert_eq!(of("-8 >> 33", -4i32 as u32), "-4");
    }
}

//! How far built-in functions are from the truth, measured as the WGSL specification does.

use serde::Serialize;

use super::device::Bench;
use crate::conformance::data::Random;
use crate::host::HostError;

/// The operations and functions that are measured, by the names that the shader's cases have.
pub(super) const NAMES: [&str; 12] =
    ["ADD", "SUBTRACT", "MULTIPLY", "DIVIDE", "EXP", "EXP2", "LOG", "LOG2", "SQRT", "INVERSE_SQRT", "TANH", "POW"];

/// Arguments of each.
const ARGUMENTS: usize = 1 << 17;

/// The least normal f32.
const NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// What was measured of one function on one set of arguments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// As WGSL writes it.
    pub function: &'static str,
    /// Which arguments.
    pub domain: &'static str,
    /// How many of them have a result that is a normal number.
    pub arguments: usize,
    /// The greatest error in ULP of the exact result; infinite (null in JSON) where a result is infinite or NaN.
    pub ulps: f64,
    /// The argument, or both, with that error.
    pub argument: [f32; 2],
    /// What it should give, and what it gives.
    pub want: f64,
    /// What it gives; null in JSON where it is infinite or NaN.
    pub got: f32,
    /// The greatest absolute error.
    pub absolute: f64,
    /// What the specification allows, in words.
    pub bound: &'static str,
    /// How many arguments have a result outside of it.
    pub outside: usize,
    /// The first of them.
    pub outside_at: Option<[f32; 2]>,
    /// For sums, differences, products: how many are not the nearest f32, the even one of two.
    pub not_nearest: Option<usize>,
}

impl Measured {
    /// Whether all results are within the specification's bound.
    #[must_use]
    pub fn within(&self) -> bool {
        self.outside == 0
    }
}

/// A function on a set of arguments: what to ask the device, on what, and what is right.
pub(super) struct Subject {
    which: &'static str,
    function: &'static str,
    domain: &'static str,
    bound: &'static str,
    arguments: fn() -> Vec<[f32; 2]>,
    exact: fn(f64, f64) -> f64,
    /// The interval that the specification allows, from arguments and the exact result.
    allowed: fn(f64, f64, f64) -> [f64; 2],
}

/// The unit in the last place as the WGSL specification defines it in "Floating Point Accuracy": the least distance of two
/// f32 that have x between them or are x. For a power of two it is the one below.
#[must_use]
pub fn ulp(x: f64) -> f64 {
    let x = x.abs().min(f64::from(f32::MAX));
    if x <= NORMAL * 2.0 {
        return 2f64.powi(-149);
    }
    // The number before x, so that powers of two count to the binade below.
    let exponent = ((x.to_bits() - 1) >> 52) as i32 - 1023;
    2f64.powi(exponent - 23)
}

fn around(x: f64, ulps: f64) -> [f64; 2] {
    [x - ulps * ulp(x), x + ulps * ulp(x)]
}

/// The smallest interval with all of these in it.
fn hull(points: impl IntoIterator<Item = f64>) -> [f64; 2] {
    points.into_iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| [low.min(x), high.max(x)])
}

fn exponential(x: f64, y: f64) -> [f64; 2] {
    around(y, 3.0 + 2.0 * x.abs())
}

fn logarithm(x: f64, y: f64) -> [f64; 2] {
    if (0.5..=2.0).contains(&x) { [y - 2f64.powi(-21), y + 2f64.powi(-21)] } else { around(y, 3.0) }
}

/// 1 / inverseSqrt(x): 2 ULP, then a division.
fn square_root(_: f64, _: f64, y: f64) -> [f64; 2] {
    hull(around(1.0 / y, 2.0).into_iter().flat_map(|r| around(1.0 / r, 2.5)))
}

/// exp2(b * log2(a)).
fn power(a: f64, b: f64, _: f64) -> [f64; 2] {
    let products = logarithm(a, a.log2()).into_iter().flat_map(|l| around(l * b, 1.0));
    hull(products.flat_map(|p| exponential(p, p.exp2())))
}

/// sinh(x) / cosh(x), both made from exp, or 1e-5 absolute.
fn tangent(x: f64, _: f64, y: f64) -> [f64; 2] {
    let (up, down) = (exponential(x, x.exp()), exponential(x, (-x).exp()));
    let sinh = [(up[0] - down[1]) * 0.5, (up[1] - down[0]) * 0.5].map(|s| around(s, 1.0));
    let cosh = [(up[0] + down[0]) * 0.5, (up[1] + down[1]) * 0.5].map(|c| around(c, 1.0));
    let quotients =
        sinh.into_iter().flatten().flat_map(|s| cosh.into_iter().flatten().flat_map(move |c| around(s / c, 2.5)));
    hull(quotients.chain([y - 1e-5, y + 1e-5]))
}

/// Either neighbour of a number that is no f32, and the number itself if it is one. (Sums and products: the f64 result decides,
/// which for sums is off by less than 2^-52 of itself.)
fn correctly_rounded(_: f64, _: f64, y: f64) -> [f64; 2] {
    let near = y as f32;
    let other = if f64::from(near) < y { near.next_up() } else { near.next_down() };
    if f64::from(near) == y { [y, y] } else { hull([f64::from(near), f64::from(other)]) }
}

pub(super) const FUNCTIONS: [Subject; 14] = [
    Subject {
        which: "ADD",
        function: "a + b",
        domain: "exponents at most 26 apart, either sign",
        bound: "correctly rounded",
        arguments: pairs,
        exact: |a, b| a + b,
        allowed: correctly_rounded,
    },
    Subject {
        which: "SUBTRACT",
        function: "a - b",
        domain: "exponents at most 26 apart, either sign",
        bound: "correctly rounded",
        arguments: pairs,
        exact: |a, b| a - b,
        allowed: correctly_rounded,
    },
    Subject {
        which: "MULTIPLY",
        function: "a * b",
        domain: "all exponents whose product is normal",
        bound: "correctly rounded",
        arguments: factors,
        exact: |a, b| a * b,
        allowed: correctly_rounded,
    },
    Subject {
        which: "DIVIDE",
        function: "a / b",
        domain: "all exponents whose quotient is normal",
        bound: "2.5 ULP",
        arguments: quotients,
        exact: |a, b| a / b,
        allowed: |_, _, y| around(y, 2.5),
    },
    Subject {
        which: "EXP",
        function: "exp",
        domain: "-104 to 89",
        bound: "3 + 2 |x| ULP",
        arguments: || exponents(-104.0, 89.0, std::f64::consts::LN_2),
        exact: |x, _| x.exp(),
        allowed: |x, _, y| exponential(x, y),
    },
    Subject {
        which: "EXP2",
        function: "exp2",
        domain: "-150 to 128.5",
        bound: "3 + 2 |x| ULP",
        arguments: || exponents(-150.0, 128.5, 1.0),
        exact: |x, _| x.exp2(),
        allowed: |x, _, y| exponential(x, y),
    },
    Subject {
        which: "LOG",
        function: "log",
        domain: "0.5 to 2",
        bound: "2^-21 absolute",
        arguments: near_one,
        exact: |x, _| x.ln(),
        allowed: |x, _, y| logarithm(x, y),
    },
    Subject {
        which: "LOG",
        function: "log",
        domain: "all binades outside of 0.5 to 2",
        bound: "3 ULP",
        arguments: far_from_one,
        exact: |x, _| x.ln(),
        allowed: |x, _, y| logarithm(x, y),
    },
    Subject {
        which: "LOG2",
        function: "log2",
        domain: "0.5 to 2",
        bound: "2^-21 absolute",
        arguments: near_one,
        exact: |x, _| x.log2(),
        allowed: |x, _, y| logarithm(x, y),
    },
    Subject {
        which: "LOG2",
        function: "log2",
        domain: "all binades outside of 0.5 to 2",
        bound: "3 ULP",
        arguments: far_from_one,
        exact: |x, _| x.log2(),
        allowed: |x, _, y| logarithm(x, y),
    },
    Subject {
        which: "SQRT",
        function: "sqrt",
        domain: "all binades",
        bound: "that of 1 / inverseSqrt",
        arguments: all_binades,
        exact: |x, _| x.sqrt(),
        allowed: square_root,
    },
    Subject {
        which: "INVERSE_SQRT",
        function: "inverseSqrt",
        domain: "all binades",
        bound: "2 ULP",
        arguments: all_binades,
        exact: |x, _| 1.0 / x.sqrt(),
        allowed: |_, _, y| around(y, 2.0),
    },
    Subject {
        which: "TANH",
        function: "tanh",
        domain: "-20 to 20",
        bound: "1e-5 absolute, or that of sinh / cosh",
        arguments: || exponents(-20.0, 20.0, 0.5),
        exact: |x, _| x.tanh(),
        allowed: tangent,
    },
    Subject {
        which: "POW",
        function: "pow",
        domain: "2^-20 to 2^20, to the -6th to 6th",
        bound: "that of exp2(b * log2(a))",
        arguments: powers,
        exact: f64::powf,
        allowed: power,
    },
];

/// Words of an argument set's own.
struct Words(Random);

impl Words {
    fn new(name: &str) -> Self {
        Self(Random::of(name))
    }

    fn word(&mut self) -> u32 {
        (self.0.bits() >> 32) as u32
    }
}

/// A number between 1 and 2.
fn mantissa(words: &mut Words) -> f32 {
    f32::from_bits(0x3f80_0000 | (words.word() >> 9))
}

fn signed(words: &mut Words) -> f32 {
    let x = mantissa(words);
    if words.word() & 1 == 0 { x } else { -x }
}

/// Below or at or above these, by up to so many floats.
fn beside(x: f32, floats: i32) -> impl Iterator<Item = f32> {
    let bits = x.to_bits();
    (-floats..=floats).map(move |by| f32::from_bits(bits.saturating_add_signed(by)))
}

/// Pairs that cancel, that round by a bit, that are ties, and that are far apart.
fn pairs() -> Vec<[f32; 2]> {
    let mut words = Words::new("probe pairs");
    let mut next = || {
        let scale = 2f32.powi((words.word() % 200) as i32 - 90);
        let apart = 2f32.powi(-((words.word() % 27) as i32));
        let b = match words.word() % 4 {
            0 => 1.0,
            1 => 1.0 + f32::EPSILON,
            _ => mantissa(&mut words),
        };
        let b = if words.word() & 1 == 0 { b } else { -b };
        [signed(&mut words) * scale, b * apart * scale]
    };
    (0..ARGUMENTS).map(|_| next()).collect()
}

fn factors() -> Vec<[f32; 2]> {
    let mut words = Words::new("probe factors");
    let mut next = || {
        let (e, apart) = ((words.word() % 120) as i32 - 60, (words.word() % 120) as i32 - 60);
        let f = if words.word() & 1 == 0 { e } else { apart };
        [signed(&mut words) * 2f32.powi(e), signed(&mut words) * 2f32.powi(f)]
    };
    // Eleven and thirteen bits make ties.
    let mut all: Vec<_> = (0..ARGUMENTS).map(|_| next()).collect();
    for [a, b] in all.iter_mut().step_by(4) {
        *a = f32::from_bits(a.to_bits() & 0xffff_e000 | 0x2000);
        *b = f32::from_bits(b.to_bits() & 0xffff_f800 | 0x800);
    }
    all
}

fn quotients() -> Vec<[f32; 2]> {
    let mut all = factors();
    for [a, b] in all.iter_mut().skip(1).step_by(8) {
        (*a, *b) = (a.signum() * 2f32.powi(a.abs().log2() as i32), f32::from_bits(b.to_bits() | 0x007f_ffff));
    }
    all.retain(|[a, b]| (2f64.powi(-125)..2f64.powi(126)).contains(&f64::from(a / b).abs()));
    all
}

/// Evenly over the range, small numbers of all sizes, and beside the multiples of half a period, where reductions change
/// their mind.
fn exponents(low: f64, high: f64, period: f64) -> Vec<[f32; 2]> {
    let even = 1 << 16;
    let mut all: Vec<f32> = (0..=even).map(|i| (low + (high - low) * f64::from(i) / f64::from(even)) as f32).collect();
    all.push(0.0);
    let halves = (low / period * 2.0) as i32..=(high / period * 2.0) as i32;
    all.extend(halves.filter(|&n| n != 0).flat_map(|n| beside((f64::from(n) * 0.5 * period) as f32, 8)));
    let mut words = Words::new("probe exponents");
    while all.len() < ARGUMENTS {
        all.push(signed(&mut words) * 2f32.powi(-((words.word() % 40) as i32)));
    }
    let inside = |x: &f32| (low..=high).contains(&f64::from(*x));
    all.into_iter().filter(inside).map(|x| [x, 0.0]).collect()
}

/// The 2^15 floats on either side of 1, and the rest evenly by bits.
fn near_one() -> Vec<[f32; 2]> {
    let mut all: Vec<f32> = beside(1.0, 1 << 15).collect();
    let (low, high) = (0.5f32.to_bits(), 2.0f32.to_bits());
    let rest = (ARGUMENTS - all.len()) as u32;
    all.extend(
        (0..=rest).map(|i| f32::from_bits(low + (u64::from(high - low) * u64::from(i) / u64::from(rest)) as u32)),
    );
    all.into_iter().map(|x| [x, 0.0]).collect()
}

/// Every binade's ends and as many numbers within.
fn all_binades() -> Vec<[f32; 2]> {
    let mut words = Words::new("probe binades");
    let each = ARGUMENTS as u32 / 254;
    let binades = (1..=254u32).flat_map(|e| [e << 23, (e << 23) + 1, (e << 23) + 0x7f_ffff]);
    let mut all: Vec<f32> = binades.map(f32::from_bits).collect();
    for e in 1..=254u32 {
        all.extend((3..each).map(|_| f32::from_bits(e << 23 | words.word() >> 9)));
    }
    all.into_iter().map(|x| [x, 0.0]).collect()
}

fn far_from_one() -> Vec<[f32; 2]> {
    let mut all = all_binades();
    all.retain(|[x, _]| !(0.5..=2.0).contains(x));
    all
}

fn powers() -> Vec<[f32; 2]> {
    let mut words = Words::new("probe powers");
    let mut next = || {
        let wide = words.word().is_multiple_of(2);
        let e = if wide { (words.word() % 40) as i32 - 20 } else { -((words.word() % 2) as i32) };
        [
            mantissa(&mut words) * 2f32.powi(e),
            signed(&mut words) * if words.word().is_multiple_of(2) { 3.0 } else { 1.0 },
        ]
    };
    (0..ARGUMENTS).map(|_| next()).collect()
}

impl Subject {
    /// Asks the device and compares.
    pub fn measure(&self, bench: &Bench<'_>) -> Result<Measured, HostError> {
        let arguments = (self.arguments)();
        let which = NAMES.iter().position(|n| *n == self.which).unwrap_or(NAMES.len()) as u32;
        let results = bench.function(which, &arguments)?;
        Ok(self.compare(&arguments, &results))
    }

    /// The same of results from anywhere.
    fn compare(&self, arguments: &[[f32; 2]], results: &[f32]) -> Measured {
        let mut measured = Measured {
            function: self.function,
            domain: self.domain,
            arguments: 0,
            ulps: -1.0,
            argument: [0.0; 2],
            want: 0.0,
            got: 0.0,
            absolute: 0.0,
            bound: self.bound,
            outside: 0,
            outside_at: None,
            not_nearest: None,
        };
        let nearest: Option<fn(f32, f32) -> f32> = match self.which {
            "ADD" => Some(|a, b| a + b),
            "SUBTRACT" => Some(|a, b| a - b),
            "MULTIPLY" => Some(|a, b| a * b),
            _ => None,
        };
        let mut not_nearest = 0;
        for (&[a, b], &got) in arguments.iter().zip(results) {
            let (x, y) = (f64::from(a), f64::from(b));
            let want = (self.exact)(x, y);
            // A device may flush what is subnormal, and what overflows is anything.
            let is_measured = want == 0.0 || (NORMAL..=f64::from(f32::MAX)).contains(&want.abs());
            if !is_measured {
                continue;
            }
            measured.arguments += 1;
            let error = (f64::from(got) - want).abs();
            let error = if error.is_nan() { f64::INFINITY } else { error };
            let ulps = error / ulp(want);
            measured.absolute = measured.absolute.max(error);
            if ulps > measured.ulps {
                (measured.ulps, measured.argument) = (ulps, [a, b]);
                (measured.want, measured.got) = (want, got);
            }
            let [low, high] = (self.allowed)(x, y, want);
            if !(low..=high).contains(&f64::from(got)) {
                measured.outside += 1;
                measured.outside_at.get_or_insert([a, b]);
            }
            not_nearest += usize::from(nearest.is_some_and(|n| n(a, b) != got));
        }
        measured.not_nearest = nearest.map(|_| not_nearest);
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, domain: &str) -> &'static Subject {
        FUNCTIONS.iter().find(|f| f.function == name && f.domain.starts_with(domain)).unwrap()
    }

    fn compared(function: &Subject, planted: impl Fn(f32, f32) -> f32) -> Measured {
        let arguments = (function.arguments)();
        let results: Vec<f32> = arguments.iter().map(|&[a, b]| planted(a, b)).collect();
        function.compare(&arguments, &results)
    }

    #[test]
    fn an_ulp_is_the_specifications() {
        for (x, want) in [
            (1.0, -24),
            (1.5, -23),
            (-1.5, -23),
            (2.0, -23),
            (2.0 + 1e-9, -22),
            (0.0, -149),
            (2f64.powi(-126), -149),
            (2f64.powi(-125), -149),
            (2f64.powi(-125) * 1.1, -148),
            (f64::from(f32::MAX), 104),
            (1e300, 104),
        ] {
            assert_eq!(ulp(x), 2f64.powi(want), "{x:e}");
        }
    }

    #[test]
    fn every_function_has_its_hundred_thousand_arguments() {
        for function in &FUNCTIONS {
            let right = compared(function, |a, b| (function.exact)(f64::from(a), f64::from(b)) as f32);
            assert!(right.arguments >= 100_000, "{}: {}", function.function, right.arguments);
            assert!(right.ulps <= 1.0 && right.within(), "{right:?}");
            assert!(NAMES.contains(&function.which), "{}", function.which);
            let nearest = ["a + b", "a - b", "a * b"].contains(&function.function);
            assert_eq!(right.not_nearest, nearest.then_some(0));
        }
    }

    #[test]
    fn planted_errors_are_measured() {
        let seven = compared(of("exp", ""), |a, _| {
            let y = f64::from(a).exp() as f32;
            if a == 0.0 { f32::from_bits(y.to_bits() + 7) } else { y }
        });
        // 1 is a power of two: its ULP is the one below.
        assert_eq!((seven.ulps, seven.argument[0], seven.outside), (14.0, 0.0, 1));
        assert_eq!(seven.outside_at, Some([0.0, 0.0]));
        assert_eq!((seven.want, seven.got), (1.0, 1.0 + 7.0 * f32::EPSILON));
        let shifted = compared(of("log", "0.5"), |a, _| (f64::from(a).ln() + 1e-6) as f32);
        assert!((1e-6..1.1e-6).contains(&shifted.absolute), "{}", shifted.absolute);
        assert!(shifted.outside > 100_000 && shifted.ulps > 1e6);
        let near = compared(of("log", "0.5"), |a, _| (f64::from(a).ln() + 1e-7) as f32);
        assert!(near.within());
        let nan = compared(of("sqrt", ""), |_, _| f32::NAN);
        assert_eq!((nan.outside, nan.ulps), (nan.arguments, f64::INFINITY));
        let down = compared(of("a * b", ""), |a, b| {
            let y = a * b;
            if f64::from(y).abs() > (f64::from(a) * f64::from(b)).abs() { f32::from_bits(y.to_bits() - 1) } else { y }
        });
        assert!(down.within(), "rounding to zero is correct rounding, as WGSL sees it");
        assert!(down.not_nearest.unwrap() > 10_000);
    }

    #[test]
    fn bounds_of_composed_functions_are_known() {
        let [low, high] = square_root(4.0, 0.0, 2.0);
        assert!(high - 2.0 > 2.5 * ulp(2.0) && high - 2.0 < 8.0 * ulp(2.0) && low < 2.0);
        let [low, high] = power(2.0, 3.0, 8.0);
        // Twice and thrice 2^-21 in the exponent.
        assert!((8.0 - low) / 8.0 > 3.0 * 2f64.powi(-21) * 0.69 && (high - 8.0) / 8.0 < 4e-6);
        assert_eq!(tangent(0.0, 0.0, 0.0), [-1e-5, 1e-5]);
    }
}

//! Where results must agree to the bit: what a compiler may round otherwise, found in naga's IR. WGSL lets it fuse a product with
//! the sum it goes into, and take products of three and sums of three in another order. Integer operations stop it, which is what
//! `fenced` in `shaders/lib/logarithm.wgsl` is for.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{
    BinaryOperator, Block, Expression, Function, Handle, Literal, LocalVariable, MathFunction, Module, ScalarKind,
    Statement,
};

/// A line that says so is believed: what it adds or multiplies is exact, or may be rounded in any way.
pub const BELIEVED: &str = "// unfenced: ";

/// Sums and products in lines of `text` that `counts` whose operands a compiler may take together with what they are made of.
pub fn open_to_compilers(
    module: &Module,
    info: &ModuleInfo,
    text: &str,
    counts: impl Fn(Range<usize>) -> bool,
) -> BTreeSet<String> {
    let mut lint = Lint { module, info, known: HashMap::new(), faults: BTreeSet::new() };
    for (i, entry) in module.entry_points.iter().enumerate() {
        let arguments = vec![Value::default(); entry.function.arguments.len()];
        lint.function(&entry.function, info.get_entry_point(i), arguments);
    }
    let line = |at: usize| {
        let from = text[..at].rfind('\n').map_or(0, |n| n + 1);
        &text[from..text[at..].find('\n').map_or(text.len(), |n| at + n)]
    };
    let faults = lint.faults.into_iter().filter(|(from, to, _)| counts(*from..*to));
    let faults = faults.filter(|(from, ..)| !line(*from).contains(BELIEVED));
    faults.map(|(from, _, what)| format!("{what}: {}", line(from).trim())).collect()
}

/// What a value may be, as a compiler sees it: one of these, or something that it cannot look into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Kind {
    product: bool,
    sum: bool,
}

impl Kind {
    fn or(self, other: Self) -> Self {
        Self { product: self.product || other.product, sum: self.sum || other.sum }
    }
}

/// The same of components or fields, where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Value {
    all: Kind,
    parts: Vec<Self>,
}

impl Value {
    fn of(all: Kind) -> Self {
        Self { all, parts: Vec::new() }
    }

    fn kind(&self) -> Kind {
        self.parts.iter().fold(self.all, |kind, part| kind.or(part.kind()))
    }

    fn part(&self, i: usize) -> Self {
        let mut part = self.parts.get(i).cloned().unwrap_or_default();
        part.all = part.all.or(self.all);
        part
    }

    fn join(&mut self, other: &Self) {
        self.all = self.all.or(other.all);
        for (i, part) in other.parts.iter().enumerate() {
            self.join_part(i, part);
        }
    }

    fn join_part(&mut self, i: usize, part: &Self) {
        self.parts.resize(self.parts.len().max(i + 1), Self::default());
        self.parts[i].join(part);
    }
}

struct Lint<'a> {
    module: &'a Module,
    info: &'a ModuleInfo,
    /// (function, arguments): the result.
    known: HashMap<(*const Function, Vec<Value>), Value>,
    /// Where in the text, and what.
    faults: BTreeSet<(usize, usize, &'static str)>,
}

/// One function with the arguments of one call.
struct Frame<'a> {
    function: &'a Function,
    info: &'a FunctionInfo,
    arguments: Vec<Value>,
    locals: HashMap<Handle<LocalVariable>, Value>,
    /// Of calls.
    results: HashMap<Handle<Expression>, Value>,
    values: Vec<Value>,
    returned: Value,
}

impl<'a> Lint<'a> {
    fn function(&mut self, function: &'a Function, info: &'a FunctionInfo, arguments: Vec<Value>) -> Value {
        let key = (std::ptr::from_ref(function), arguments.clone());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let (locals, results) = (HashMap::new(), HashMap::new());
        let mut frame =
            Frame { function, info, arguments, locals, results, values: Vec::new(), returned: Value::default() };
        // Kinds only ever are added: until none is new.
        loop {
            let before = (frame.locals.clone(), frame.results.clone());
            frame.values.clear();
            for (handle, expression) in function.expressions.iter() {
                let value = frame.evaluate(self, handle, expression);
                frame.values.push(value);
            }
            self.block(&mut frame, &function.body);
            if before == (frame.locals.clone(), frame.results.clone()) {
                break;
            }
        }
        self.known.insert(key, frame.returned.clone());
        frame.returned
    }

    fn block(&mut self, frame: &mut Frame<'a>, block: &'a Block) {
        for statement in block {
            match statement {
                Statement::Block(block) => self.block(frame, block),
                Statement::If { accept, reject, .. } => {
                    self.block(frame, accept);
                    self.block(frame, reject);
                }
                Statement::Loop { body, continuing, .. } => {
                    self.block(frame, body);
                    self.block(frame, continuing);
                }
                Statement::Return { value: Some(value) } => {
                    let value = frame.value(*value).clone();
                    frame.returned.join(&value);
                }
                Statement::Store { pointer, value } => {
                    let value = frame.value(*value).clone();
                    frame.store(*pointer, &value);
                }
                Statement::Call { function, arguments, result } => {
                    let arguments = arguments.iter().map(|a| frame.value(*a).clone()).collect();
                    let value = self.function(&self.module.functions[*function], &self.info[*function], arguments);
                    if let Some(result) = result {
                        frame.results.entry(*result).or_default().join(&value);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Frame<'_> {
    fn value(&self, e: Handle<Expression>) -> &Value {
        &self.values[e.index()]
    }

    /// To a variable, or to a part of one.
    fn store(&mut self, pointer: Handle<Expression>, value: &Value) {
        match self.function.expressions[pointer] {
            Expression::LocalVariable(local) => self.locals.entry(local).or_default().join(value),
            Expression::AccessIndex { base, index } => {
                let mut whole = Value::default();
                whole.join_part(index as usize, value);
                self.store(base, &whole);
            }
            Expression::Access { base, .. } => self.store(base, &Value::of(value.kind())),
            _ => {}
        }
    }

    fn is_float(&self, lint: &Lint<'_>, e: Handle<Expression>) -> bool {
        let inner = self.info[e].ty.inner_with(&lint.module.types);
        inner.scalar_kind() == Some(ScalarKind::Float)
    }

    /// A power of two, which products by are exact.
    fn is_power_of_two(&self, e: Handle<Expression>) -> bool {
        match self.function.expressions[e] {
            Expression::Literal(Literal::F32(x)) => x.is_normal() && x.to_bits().trailing_zeros() >= 23,
            Expression::Splat { value, .. } => self.is_power_of_two(value),
            _ => false,
        }
    }

    fn evaluate(&self, lint: &mut Lint<'_>, handle: Handle<Expression>, expression: &Expression) -> Value {
        match *expression {
            Expression::Compose { ref components, .. } => {
                let mut value = Value::default();
                for (i, c) in components.iter().enumerate() {
                    value.join_part(i, self.value(*c));
                }
                value
            }
            Expression::AccessIndex { base, index } => self.value(base).part(index as usize),
            Expression::Access { base: e, .. }
            | Expression::Splat { value: e, .. }
            | Expression::Swizzle { vector: e, .. }
            | Expression::Unary { expr: e, .. }
            | Expression::As { expr: e, convert: None, .. } => Value::of(self.value(e).kind()),
            Expression::FunctionArgument(i) => self.arguments[i as usize].clone(),
            Expression::LocalVariable(local) => self.locals.get(&local).cloned().unwrap_or_default(),
            Expression::Load { pointer } => self.value(pointer).clone(),
            Expression::Select { accept, reject, .. } => {
                let mut value = self.value(accept).clone();
                value.join(self.value(reject));
                value
            }
            Expression::Math { fun: MathFunction::Min | MathFunction::Max | MathFunction::Abs, arg, arg1, .. }
                if self.is_float(lint, handle) =>
            {
                Value::of(arg1.map_or(Kind::default(), |e| self.value(e).kind()).or(self.value(arg).kind()))
            }
            Expression::Binary { op, left, right } if self.is_float(lint, handle) => {
                let span = self.function.expressions.get_span(handle).to_range().unwrap_or_default();
                let (a, b) = (self.value(left).kind(), self.value(right).kind());
                let mut fault = |what| _ = lint.faults.insert((span.start, span.end, what));
                match op {
                    BinaryOperator::Add | BinaryOperator::Subtract => {
                        if a.product || b.product {
                            fault("a product that goes into a sum");
                        }
                        if a.sum || b.sum {
                            fault("a sum that goes into a sum");
                        }
                        Value::of(Kind { sum: true, product: false })
                    }
                    BinaryOperator::Multiply if self.is_power_of_two(left) => Value::of(b),
                    BinaryOperator::Multiply if self.is_power_of_two(right) => Value::of(a),
                    BinaryOperator::Multiply => {
                        if a.product || b.product {
                            fault("a product that goes into a product");
                        }
                        Value::of(Kind { product: true, sum: false })
                    }
                    BinaryOperator::Divide => {
                        fault("a quotient, which need not be rounded right");
                        Value::default()
                    }
                    _ => Value::default(),
                }
            }
            Expression::CallResult(_) => self.results.get(&handle).cloned().unwrap_or_default(),
            // Integers, what comes from memory, comparisons, conversions: nothing of how they came about is left.
            _ => Value::default(),
        }
    }
}

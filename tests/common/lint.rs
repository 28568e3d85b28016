//! What WGSL forbids and naga accepts, and what this crate forbids itself, found in naga's IR.
//!
//! Uniformity after the WGSL specification, section 15, but simpler and stricter: a struct is uniform if all of it is,
//! a variable if all that is ever stored is, and everything in storage or workgroup memory differs between invocations.

use std::collections::{BTreeSet, HashMap};

use naga::{
    AddressSpace, ArraySize, BinaryOperator, Binding, Block, BuiltIn, Expression, Function, GatherMode, Handle,
    Literal, LocalVariable, MathFunction, Module, RelationalFunction, ScalarKind, Statement, TypeInner,
};

/// Barriers and subgroup operations that not all invocations of a workgroup may reach together.
pub fn divergent_barriers(module: &Module) -> BTreeSet<String> {
    let mut lint = Lint { module, known: HashMap::new(), faults: BTreeSet::new() };
    for entry in &module.entry_points {
        let arguments = entry.function.arguments.iter().map(|a| !is_uniform(a.binding.as_ref())).collect();
        lint.function(&entry.function, arguments, false);
    }
    lint.faults
}

fn is_uniform(binding: Option<&Binding>) -> bool {
    use BuiltIn::{NumWorkGroups, SubgroupSize, WorkGroupId};
    matches!(binding, Some(Binding::BuiltIn(WorkGroupId | NumWorkGroups | SubgroupSize)))
}

struct Lint<'a> {
    module: &'a Module,
    /// (function, which arguments differ, whether it is reached divergently): whether its result differs.
    known: HashMap<(*const Function, Vec<bool>, bool), bool>,
    faults: BTreeSet<String>,
}

/// One function with the arguments of one call. `true` always means: may differ between invocations.
struct Frame<'a> {
    function: &'a Function,
    arguments: Vec<bool>,
    locals: HashMap<Handle<LocalVariable>, bool>,
    /// Of calls, atomics, subgroup operations.
    results: HashMap<Handle<Expression>, bool>,
    values: Vec<bool>,
    returned: bool,
}

/// How some invocations, but not others, may have left a block.
#[derive(Clone, Copy, Default)]
struct Exits {
    function: bool,
    iteration: bool,
}

impl Exits {
    fn or(self, other: Self) -> Self {
        Self { function: self.function || other.function, iteration: self.iteration || other.iteration }
    }
}

impl<'a> Lint<'a> {
    fn function(&mut self, function: &'a Function, arguments: Vec<bool>, divergent: bool) -> bool {
        let key = (std::ptr::from_ref(function), arguments.clone(), divergent);
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let mut frame = Frame {
            function,
            arguments,
            locals: HashMap::new(),
            results: HashMap::new(),
            values: Vec::new(),
            returned: false,
        };
        // What differs only ever grows: until nothing is new.
        loop {
            let before = (frame.locals.clone(), frame.results.clone());
            frame.evaluate(self.module);
            self.block(&mut frame, &function.body, divergent);
            if before == (frame.locals.clone(), frame.results.clone()) {
                break;
            }
        }
        self.known.insert(key, frame.returned);
        frame.returned
    }

    fn block(&mut self, frame: &mut Frame<'a>, block: &'a Block, divergent: bool) -> Exits {
        let mut exits = Exits::default();
        for statement in block {
            let now = divergent || exits.function || exits.iteration;
            exits = exits.or(self.statement(frame, statement, now));
        }
        exits
    }

    fn statement(&mut self, frame: &mut Frame<'a>, statement: &'a Statement, now: bool) -> Exits {
        match statement {
            Statement::Block(block) => return self.block(frame, block, now),
            Statement::If { condition, accept, reject } => {
                let inner = now || frame.value(*condition);
                return self.block(frame, accept, inner).or(self.block(frame, reject, inner));
            }
            Statement::Loop { body, continuing, break_if } => {
                let turn = |lint: &mut Self, frame: &mut Frame<'a>, inner: bool| {
                    let exits = lint.block(frame, body, inner);
                    let inner = inner || exits.function || exits.iteration;
                    let exits = exits.or(lint.block(frame, continuing, inner));
                    let ends = inner || break_if.is_some_and(|e| frame.value(e));
                    Exits { iteration: exits.iteration || (break_if.is_some() && ends), ..exits }
                };
                let first = turn(self, frame, now);
                // Who has left is missing from the second iteration on.
                let all = turn(self, frame, now || first.function || first.iteration);
                return Exits { function: first.function || all.function, iteration: false };
            }
            Statement::Break | Statement::Continue => return Exits { iteration: now, function: false },
            Statement::Return { value } => {
                frame.returned |= now || value.is_some_and(|v| frame.value(v));
                return Exits { function: now, iteration: false };
            }
            Statement::Store { pointer, value } => frame.store(*pointer, now || frame.value(*value)),
            Statement::Call { function, arguments, result } => {
                // What a function stores through a pointer is not followed: it may differ.
                for &argument in arguments {
                    if let Expression::LocalVariable(local) = frame.function.expressions[frame.root(argument)] {
                        frame.locals.insert(local, true);
                    }
                }
                let arguments = arguments.iter().map(|a| frame.value(*a)).collect();
                let differs = self.function(&self.module.functions[*function], arguments, now);
                frame.result(*result, differs);
            }
            Statement::Atomic { result, .. } => frame.result(*result, true),
            Statement::ControlBarrier(_) => self.together("a barrier", frame, now),
            Statement::WorkGroupUniformLoad { result, .. } => {
                self.together("workgroupUniformLoad", frame, now);
                frame.result(Some(*result), false);
            }
            Statement::SubgroupBallot { result, .. }
            | Statement::SubgroupGather { result, .. }
            | Statement::SubgroupCollectiveOperation { result, .. } => {
                self.together("a subgroup operation", frame, now);
                frame.result(Some(*result), true);
            }
            Statement::Emit(_) => {}
            other => {
                self.faults.insert(format!("the lint does not know {other:?}"));
            }
        }
        Exits::default()
    }

    fn together(&mut self, what: &str, frame: &Frame<'_>, divergent: bool) {
        if divergent {
            let name = frame.function.name.as_deref().unwrap_or("main");
            self.faults.insert(format!("{what} under non-uniform control flow in {name}"));
        }
    }
}

impl Frame<'_> {
    fn value(&self, e: Handle<Expression>) -> bool {
        self.values[e.index()]
    }

    fn result(&mut self, e: Option<Handle<Expression>>, differs: bool) {
        if let Some(e) = e {
            *self.results.entry(e).or_default() |= differs;
        }
    }

    fn store(&mut self, pointer: Handle<Expression>, differs: bool) {
        let differs = differs || self.value(pointer);
        if let Expression::LocalVariable(local) = self.function.expressions[self.root(pointer)] {
            *self.locals.entry(local).or_default() |= differs;
        }
    }

    /// The variable or value that a chain of accesses begins with.
    fn root(&self, mut e: Handle<Expression>) -> Handle<Expression> {
        while let Expression::Access { base, .. } | Expression::AccessIndex { base, .. } = self.function.expressions[e]
        {
            e = base;
        }
        e
    }

    /// Which expressions differ, by what is known of variables and results so far. Operands come before their users.
    fn evaluate(&mut self, module: &Module) {
        self.values.clear();
        for (handle, expression) in self.function.expressions.iter() {
            let differs = self.differs(module, handle, expression);
            self.values.push(differs);
        }
    }

    fn differs(&self, module: &Module, handle: Handle<Expression>, expression: &Expression) -> bool {
        let any = |operands: &[Option<Handle<Expression>>]| operands.iter().flatten().any(|&e| self.value(e));
        match *expression {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::GlobalVariable(_)
            | Expression::LocalVariable(_)
            | Expression::ArrayLength(_) => false,
            Expression::Compose { ref components, .. } => components.iter().any(|&c| self.value(c)),
            Expression::Access { base, index } => any(&[Some(base), Some(index)]),
            Expression::AccessIndex { base: e, .. }
            | Expression::Splat { value: e, .. }
            | Expression::Swizzle { vector: e, .. }
            | Expression::Unary { expr: e, .. }
            | Expression::Relational { argument: e, .. }
            | Expression::As { expr: e, .. } => self.value(e),
            Expression::FunctionArgument(i) => self.arguments[i as usize],
            Expression::Load { pointer } => self.value(pointer) || self.content(module, self.root(pointer)),
            Expression::Binary { left, right, .. } => any(&[Some(left), Some(right)]),
            Expression::Select { condition, accept, reject } => any(&[Some(condition), Some(accept), Some(reject)]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => any(&[Some(arg), arg1, arg2, arg3]),
            Expression::CallResult(_) | Expression::WorkGroupUniformLoadResult { .. } => {
                self.results.get(&handle).copied().unwrap_or(false)
            }
            _ => true,
        }
    }

    fn content(&self, module: &Module, variable: Handle<Expression>) -> bool {
        match self.function.expressions[variable] {
            Expression::LocalVariable(local) => self.locals.get(&local).copied().unwrap_or(false),
            Expression::GlobalVariable(global) => module.global_variables[global].space != AddressSpace::Uniform,
            _ => true,
        }
    }
}

/// Bytes of workgroup memory, where `width` is what overrides size arrays by.
pub fn workgroup_bytes(module: &Module, value: impl Fn(&str) -> u32) -> u32 {
    let size = |inner: &TypeInner| match *inner {
        TypeInner::Array { size: ArraySize::Constant(n), stride, .. } => n.get() * stride,
        TypeInner::Array { size: ArraySize::Pending(by), stride, .. } => {
            value(module.overrides[by].name.as_deref().unwrap_or_default()) * stride
        }
        ref other => other.size(module.to_ctx()),
    };
    let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    shared.map(|(_, v)| size(&module.types[v.ty].inner)).sum()
}

/// Invocations of a workgroup.
pub fn invocations(module: &Module, value: impl Fn(&str) -> u32) -> u32 {
    let entry = &module.entry_points[0];
    let sizes = entry.workgroup_size_overrides.unwrap_or_default();
    let size = |i: usize| match sizes[i].map(|e| &module.global_expressions[e]) {
        None => entry.workgroup_size[i],
        Some(Expression::Override(by)) => value(module.overrides[*by].name.as_deref().unwrap_or_default()),
        Some(other) => panic!("the lint does not know {other:?} as a size"),
    };
    (0..3).map(size).product()
}

fn functions(module: &Module) -> impl Iterator<Item = &Function> {
    module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function))
}

/// Built-in functions whose accuracy WGSL leaves open.
pub fn inaccurate_functions(module: &Module) -> BTreeSet<String> {
    use MathFunction::{
        Abs, Ceil, Clamp, CountLeadingZeros, CountOneBits, CountTrailingZeros, ExtractBits, FirstLeadingBit,
        FirstTrailingBit, Floor, InsertBits, Max, Min, Pack2x16float, ReverseBits, Round, Saturate, Sign, Trunc,
        Unpack2x16float,
    };
    // Exact ones, everything else is not: products that may be fused or not, roots, exponentials, angles.
    let exact = [
        Abs,
        Ceil,
        Clamp,
        CountLeadingZeros,
        CountOneBits,
        CountTrailingZeros,
        ExtractBits,
        FirstLeadingBit,
        FirstTrailingBit,
        Floor,
        InsertBits,
        Max,
        Min,
        Pack2x16float,
        ReverseBits,
        Round,
        Saturate,
        Sign,
        Trunc,
        Unpack2x16float,
    ];
    let all = functions(module).flat_map(|f| f.expressions.iter());
    all.filter_map(|(_, e)| match e {
        Expression::Math { fun, .. } if !exact.contains(fun) => Some(format!("{fun:?}")),
        _ => None,
    })
    .collect()
}

/// What not every implementation has, or has alike: built-in values that are numbered differently, operations on quads,
/// resources that are no buffers of group 0, more than one uniform buffer.
pub fn unportable(module: &Module) -> BTreeSet<String> {
    use BuiltIn::{
        GlobalInvocationId, LocalInvocationId, LocalInvocationIndex, NumWorkGroups, SubgroupInvocationId, SubgroupSize,
        WorkGroupId,
    };
    let known = [
        GlobalInvocationId,
        LocalInvocationId,
        LocalInvocationIndex,
        NumWorkGroups,
        SubgroupInvocationId,
        SubgroupSize,
        WorkGroupId,
    ];
    let mut faults = BTreeSet::new();
    let arguments = module.entry_points.iter().flat_map(|e| &e.function.arguments);
    let members = module.types.iter().flat_map(|(_, ty)| match &ty.inner {
        TypeInner::Struct { members, .. } => members.as_slice(),
        _ => &[],
    });
    for binding in arguments.map(|a| &a.binding).chain(members.map(|m| &m.binding)).flatten() {
        match binding {
            Binding::BuiltIn(value) if known.contains(value) => {}
            other => _ = faults.insert(format!("{other:?}")),
        }
    }
    let mut uniforms = 0;
    for (_, variable) in module.global_variables.iter() {
        match variable.space {
            AddressSpace::Uniform => uniforms += 1,
            AddressSpace::Storage { .. } | AddressSpace::WorkGroup | AddressSpace::Private => {}
            other => _ = faults.insert(format!("a variable in {other:?}")),
        }
        if let Some(binding) = variable.binding.filter(|b| b.group != 0) {
            faults.insert(format!("group {}", binding.group));
        }
    }
    if uniforms > 1 {
        faults.insert(format!("{uniforms} uniform buffers"));
    }
    for function in functions(module) {
        quads(&function.body, &mut faults);
    }
    faults
}

fn quads(block: &Block, faults: &mut BTreeSet<String>) {
    for statement in block {
        match statement {
            Statement::Block(inner) => quads(inner, faults),
            Statement::If { accept, reject, .. } => [accept, reject].into_iter().for_each(|b| quads(b, faults)),
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| quads(&case.body, faults)),
            Statement::Loop { body, continuing, .. } => [body, continuing].into_iter().for_each(|b| quads(b, faults)),
            Statement::SubgroupGather {
                mode: mode @ (GatherMode::QuadBroadcast(_) | GatherMode::QuadSwap(_)), ..
            } => {
                faults.insert(format!("{mode:?}"));
            }
            _ => {}
        }
    }
}

/// Words of a text that naga does not know or does not tell apart, but others may take: extensions beside those of the header,
/// `requires` and diagnostics, `subgroupElect`.
pub fn unportable_words(text: &str, extensions: &[&str]) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    for word in code.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_'))) {
        let banned = ["requires", "diagnostic", "subgroupElect", "subgroup_id", "num_subgroups"];
        if banned.contains(&word) || word.starts_with("quad") && word[4..].starts_with(|c: char| c.is_uppercase()) {
            faults.insert(word.to_string());
        }
    }
    for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("enable ")) {
        let names = line.split(['/', ';']).next().unwrap_or_default().split(',').map(str::trim);
        faults.extend(names.filter(|name| !extensions.contains(name)).map(|name| format!("enable {name}")));
    }
    faults
}

/// NaN and infinity looked for where a compiler may assume that there are none, or made where WGSL forbids them: a value
/// compared with itself or taken from itself, constants that are not finite.
pub fn non_finite(module: &Module) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    for function in functions(module) {
        let name = function.name.as_deref().unwrap_or("main");
        for (handle, expression) in function.expressions.iter() {
            match *expression {
                Expression::Binary { op, left, right } => {
                    let watched = matches!(
                        op,
                        BinaryOperator::Equal
                            | BinaryOperator::NotEqual
                            | BinaryOperator::Less
                            | BinaryOperator::LessEqual
                            | BinaryOperator::Greater
                            | BinaryOperator::GreaterEqual
                            | BinaryOperator::Subtract
                    );
                    if watched && same(function, left, right) && is_float(module, function, left) {
                        faults.insert(format!("{op:?} of a value and itself in {name}"));
                    }
                }
                Expression::Relational {
                    fun: fun @ (RelationalFunction::IsNan | RelationalFunction::IsInf), ..
                } => {
                    faults.insert(format!("{fun:?} in {name}"));
                }
                Expression::As { expr, kind: ScalarKind::Float, convert: None }
                    if bits(module, function, expr).iter().any(|b| b & 0x7f80_0000 == 0x7f80_0000) =>
                {
                    faults.insert(format!("{handle:?}: bits of a constant that is not finite in {name}"));
                }
                Expression::Literal(literal) if !is_finite(literal) => {
                    faults.insert(format!("{literal:?} in {name}"));
                }
                _ => {}
            }
        }
    }
    for (_, expression) in module.global_expressions.iter() {
        if let Expression::Literal(literal) = *expression
            && !is_finite(literal)
        {
            faults.insert(format!("the constant {literal:?}"));
        }
    }
    faults
}

fn is_finite(literal: Literal) -> bool {
    match literal {
        Literal::F64(x) | Literal::AbstractFloat(x) => x.is_finite(),
        Literal::F32(x) => x.is_finite(),
        Literal::F16(x) => x.is_finite(),
        _ => true,
    }
}

/// Whether two expressions are one value, as far as can be told without following what is stored.
fn same(function: &Function, a: Handle<Expression>, b: Handle<Expression>) -> bool {
    if a == b {
        return true;
    }
    match (&function.expressions[a], &function.expressions[b]) {
        (Expression::Load { pointer: a }, Expression::Load { pointer: b }) => same(function, *a, *b),
        (Expression::Access { base: a, index: i }, Expression::Access { base: b, index: j }) => {
            same(function, *a, *b) && same(function, *i, *j)
        }
        (Expression::AccessIndex { base: a, index: i }, Expression::AccessIndex { base: b, index: j }) => {
            i == j && same(function, *a, *b)
        }
        (Expression::GlobalVariable(a), Expression::GlobalVariable(b)) => a == b,
        (Expression::LocalVariable(a), Expression::LocalVariable(b)) => a == b,
        (Expression::Literal(a), Expression::Literal(b)) => a == b,
        (Expression::Constant(a), Expression::Constant(b)) => a == b,
        _ => false,
    }
}

/// Whether an expression is made of floats, as far as its form says.
fn is_float(module: &Module, function: &Function, e: Handle<Expression>) -> bool {
    let mut typifier = naga::front::Typifier::new();
    let context = naga::proc::ResolveContext::with_locals(module, &function.local_variables, &function.arguments);
    if typifier.grow(e, &function.expressions, &context).is_err() {
        return true;
    }
    let kind = typifier.get(e, &module.types).scalar_kind();
    kind.is_none_or(|k| matches!(k, ScalarKind::Float | ScalarKind::AbstractFloat))
}

/// The words that a constant is made of.
fn bits(module: &Module, function: &Function, e: Handle<Expression>) -> Vec<u32> {
    fn of(module: &Module, expressions: &naga::Arena<Expression>, e: Handle<Expression>) -> Vec<u32> {
        match &expressions[e] {
            Expression::Literal(Literal::U32(word)) => vec![*word],
            Expression::Literal(Literal::I32(word)) => vec![*word as u32],
            Expression::Constant(c) => of(module, &module.global_expressions, module.constants[*c].init),
            Expression::Splat { value, .. } => of(module, expressions, *value),
            Expression::Compose { components, .. } => {
                components.iter().flat_map(|&c| of(module, expressions, c)).collect()
            }
            _ => Vec::new(),
        }
    }
    of(module, &function.expressions, e)
}

//! What WGSL forbids and naga accepts, and what this crate forbids itself, found in naga's IR.
//!
//! Uniformity after the WGSL specification, section 15, but simpler and stricter: a struct is uniform if all of it is,
//! a variable if all that is ever stored is, and everything in storage or workgroup memory differs between invocations.

use std::collections::{BTreeSet, HashMap};

use naga::{
    AddressSpace, ArraySize, Binding, Block, BuiltIn, Expression, Function, Handle, LocalVariable, MathFunction,
    Module, Statement, TypeInner,
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

/// Built-in functions whose accuracy WGSL leaves open.
pub fn inaccurate_functions(module: &Module) -> BTreeSet<String> {
    use MathFunction::{Acosh, Asinh, Atanh, Cosh, Exp, Exp2, InverseSqrt, Log, Log2, Pow, Sinh, Tanh};
    let banned = [Exp, Exp2, Log, Log2, Pow, Tanh, Sinh, Cosh, Asinh, Acosh, Atanh, InverseSqrt];
    let entries = module.entry_points.iter().map(|e| &e.function);
    let all = module.functions.iter().map(|(_, f)| f).chain(entries).flat_map(|f| f.expressions.iter());
    all.filter_map(|(_, e)| match e {
        Expression::Math { fun, .. } if banned.contains(fun) => Some(format!("{fun:?}")),
        _ => None,
    })
    .collect()
}

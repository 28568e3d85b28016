// A built-in function or operation of many arguments. Which one is known at run time only, as the arguments are, so that
// nothing can be computed beforehand. The names in the cases are constants that the host declares.

@group(0) @binding(0) var<uniform> which: vec4<u32>;
@group(0) @binding(1) var<storage, read> arguments: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> results: array<f32>;

fn value(a: f32, b: f32) -> f32 {
    switch which.x {
        case ADD: { return a + b; }
        case SUBTRACT: { return a - b; }
        case MULTIPLY: { return a * b; }
        case DIVIDE: { return a / b; }
        case EXP: { return exp(a); }
        case EXP2: { return exp2(a); }
        case LOG: { return log(a); }
        case LOG2: { return log2(a); }
        case SQRT: { return sqrt(a); }
        case INVERSE_SQRT: { return inverseSqrt(a); }
        case TANH: { return tanh(a); }
        case POW: { return pow(a, b); }
        default: { return 0.0; }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&arguments)) {
        let argument = arguments[id.x];
        results[id.x] = value(argument.x, argument.y);
    }
}

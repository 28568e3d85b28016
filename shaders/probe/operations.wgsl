// One question each: an operation and the bits of three operands. The answer is bits too. The names in the cases are
// constants that the host declares.

@group(0) @binding(0) var<storage, read> questions: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> answers: array<u32>;

// 1.5 * 2^23: adding it rounds to an integer.
const ROUNDER = 12582912.0;

fn truth(is: bool) -> u32 {
    return select(0u, 1u, is);
}

fn of_float(x: f32) -> u32 {
    return bitcast<u32>(x);
}

fn answer(operation: u32, u: u32, v: u32, w: u32) -> u32 {
    let a = bitcast<f32>(u);
    let b = bitcast<f32>(v);
    let c = bitcast<f32>(w);
    let i = bitcast<i32>(u);
    let j = bitcast<i32>(v);
    switch operation {
        case FMA: { return of_float(fma(a, b, c)); }
        case MULTIPLY_ADD: { return of_float(a * b + c); }
        case ONE_PLUS: { return of_float(1.0 + (a + b)); }
        case SUM_LESS: { return of_float((a + b) - a); }
        case ROUNDED: { return of_float((a + ROUNDER) - ROUNDER); }
        case PRODUCT_OVER: { return of_float((a * b) / b); }
        case ADD: { return of_float(a + b); }
        case SUBTRACT: { return of_float(a - b); }
        case MULTIPLY: { return of_float(a * b); }
        case DIVIDE: { return of_float(a / b); }
        case LESS_ITSELF: { return of_float(a - a); }
        case TIMES_ZERO: { return of_float(a * 0.0); }
        case PLUS_ZERO: { return of_float(a + 0.0); }
        case ZERO_LESS: { return of_float(0.0 - a); }
        case NEGATE: { return of_float(-a); }
        case UNEQUAL_ITSELF: { return truth(a != a); }
        case EQUAL_ITSELF: { return truth(a == a); }
        case LESS: { return truth(a < b); }
        case NOT_AT_LEAST: { return truth(!(a >= b)); }
        case GREATER: { return truth(a > b); }
        case MAX: { return of_float(max(a, b)); }
        case MIN: { return of_float(min(a, b)); }
        case CLAMP: { return of_float(clamp(a, b, c)); }
        case SELECT: { return of_float(select(b, a, a > b)); }
        case EXP: { return of_float(exp(a)); }
        case LOG: { return of_float(log(a)); }
        case SQRT: { return of_float(sqrt(a)); }
        case INVERSE_SQRT: { return of_float(inverseSqrt(a)); }
        case TANH: { return of_float(tanh(a)); }
        case POW: { return of_float(pow(a, b)); }
        case ROUND: { return of_float(round(a)); }
        case TO_U32: { return u32(a); }
        case TO_I32: { return bitcast<u32>(i32(a)); }
        case FROM_U32: { return of_float(f32(u)); }
        case PACK_HALF: { return pack2x16float(vec2(a, b)); }
        case UNPACK_HALF: { return of_float(unpack2x16float(u).x); }
        case SHIFT_LEFT: { return u << v; }
        case SHIFT_RIGHT: { return u >> v; }
        case SHIFT_RIGHT_SIGNED: { return bitcast<u32>(i >> v); }
        case MULTIPLY_U32: { return u * v; }
        case DIVIDE_U32: { return u / v; }
        case REMAINDER_U32: { return u % v; }
        case DIVIDE_I32: { return bitcast<u32>(i / j); }
        default: { return 0xdeadbeefu; }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < arrayLength(&questions)) {
        let q = questions[id.x];
        answers[id.x] = answer(q.x, q.y, q.z, q.w);
    }
}

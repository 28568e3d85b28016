const DIVIDES = true;

fn inverse_of(total: f32) -> f32 {
    return reciprocal(vec4(max(total, params.least))).x;
}

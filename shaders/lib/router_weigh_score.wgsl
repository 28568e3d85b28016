fn weight_score(field: Field, reference: f32, z: vec4<f32>) -> vec4<f32> {
    return scored(z);
}

// Whether a NaN among the choices makes all weights NaN.
fn is_spoilt(field: Field, nan_chosen: bool) -> bool {
    return DIVIDES && nan_chosen;
}

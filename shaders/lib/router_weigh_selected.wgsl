// exp(z) relative to the greatest of the chosen logits; the sum divides.
fn weight_score(field: Field, reference: f32, z: vec4<f32>) -> vec4<f32> {
    let e = decay(distance_from(reference, z));
    return select(e, vec4(0.0), vec4(bitcast<u32>(reference) == 0xff800000u));
}

fn is_spoilt(field: Field, nan_chosen: bool) -> bool {
    return nan_chosen;
}

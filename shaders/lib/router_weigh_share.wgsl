fn weight_score(field: Field, reference: f32, z: vec4<f32>) -> vec4<f32> {
    return share_of(field, z);
}

fn is_spoilt(field: Field, nan_chosen: bool) -> bool {
    return field.spoilt;
}

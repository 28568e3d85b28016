fn ranked(field: Field, bias: vec4<f32>, words: vec4<u32>, z: vec4<f32>) -> vec4<f32> {
    return favoured(bias, share_of(field, z));
}

// Whether the order depends on the whole row.
const FIELD_FIRST = true;

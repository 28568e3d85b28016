// The order of scores is that of logits, if nothing is added to them.
fn ranked(field: Field, bias: vec4<f32>, words: vec4<u32>, z: vec4<f32>) -> vec4<f32> {
    return perturbed(words, z);
}

// Whether the order depends on the whole row.
const FIELD_FIRST = false;

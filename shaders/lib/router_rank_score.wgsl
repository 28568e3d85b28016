fn ranked(field: Field, columns: vec4<u32>, words: vec4<u32>, z: vec4<f32>) -> vec4<f32> {
    return favoured(columns, scored(z));
}

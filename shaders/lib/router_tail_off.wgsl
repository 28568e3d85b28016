fn is_column(columns: vec4<u32>) -> vec4<bool> {
    return vec4(true);
}

fn is_column(columns: vec4<u32>) -> vec4<bool> {
    return columns < vec4(params.cols);
}

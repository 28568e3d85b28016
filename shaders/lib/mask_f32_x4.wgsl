alias Mask = vec4<f32>;

fn mask_of(row: u32) -> u32 {
    return entry(params.mask, row);
}

fn masked(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    return x + mask[row.mask + quad];
}

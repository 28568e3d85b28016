alias Mask = vec2<u32>;

fn mask_of(row: u32) -> u32 {
    return entry(params.mask, row);
}

fn masked(row: Row, quad: u32, x: vec4<f32>) -> vec4<f32> {
    let word = mask[row.mask + quad];
    return x + vec4(half_pair(word.x), half_pair(word.y));
}

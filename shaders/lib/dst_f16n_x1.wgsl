alias Dst = f16;

// Rounded by us, so that the conversion to the device's type is exact.
fn put(i: u32, y: f32) {
    dst[i] = f16(half_value(half_bits(y)));
}

fn store_quad(base: u32, quad: u32, y: vec4<f32>) {
    let column = quad * 4u;
    put(base + column, y.x);
    if (column + 1u < params.cols) {
        put(base + column + 1u, y.y);
    }
    if (column + 2u < params.cols) {
        put(base + column + 2u, y.z);
    }
    if (column + 3u < params.cols) {
        put(base + column + 3u, y.w);
    }
}

// Adds to what the output holds; where there is nothing to add, leaves it as it is.
fn finish(base: u32, quad: u32, sum: vec4<f32>, some: bool) {
    if (some) {
        store_quad(base, quad, reload_quad(base, quad) + sum);
    }
}

fn finish(base: u32, quad: u32, sum: vec4<f32>, some: bool) {
    store_quad(base, quad, sum);
}

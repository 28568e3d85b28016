@group(0) @binding(5) var<storage, read> deviations: array<f32>;

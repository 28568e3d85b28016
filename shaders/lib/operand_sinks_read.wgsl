@group(0) @binding(7) var<storage, read> sinks: array<f32>;

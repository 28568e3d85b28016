@group(0) @binding(1) var<storage, read> experts: array<u32>;

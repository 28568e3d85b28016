// Four elements are four numbers.
alias Cell = vec4<f32>;

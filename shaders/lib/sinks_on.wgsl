const HAS_SINK = true;
// After every column, so that at temperature 0 a tie goes to the column.
const SINK_COLUMN = 0x7ffffff0u;

// One more logit, which takes mass but has no output; it is tempered like the others.
fn sink_of(row: Row) -> f32 {
    return tempered(row, vec4(sinks[entry(params.sinks, row.index)])).x;
}

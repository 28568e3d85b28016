// A product that is rounded on its own, whatever it goes into.
fn weighed(cell: Cell, weight: f32) -> Cell {
    return fenced(cell * weight);
}

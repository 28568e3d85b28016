fn weighed(cell: Cell, weight: f32) -> Cell {
    return cell;
}

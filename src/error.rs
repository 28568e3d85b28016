//! What can go wrong, and in whose words.

/// Why a kernel cannot be built on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The variant needs a feature that the device was not created with.
    #[error("{variant} needs the device feature {feature}")]
    MissingFeature {
        /// The variant's name.
        variant: String,
        /// The feature, as `wgpu::Features` calls it.
        feature: &'static str,
    },
    /// The variant needs more than the device's limit.
    #[error("{variant} needs {limit} of at least {needed}, this device has {available}")]
    LimitTooLow {
        /// The variant's name.
        variant: String,
        /// The limit, as `wgpu::Limits` calls it.
        limit: &'static str,
        /// What is needed.
        needed: u64,
        /// What there is.
        available: u64,
    },
    /// The operands in use need more storage buffers than the device allows in one stage.
    #[error("{} storage buffers are needed ({}), this device allows {available}: leave an option out, work in place where the kernel can, or ask the device for a higher max_storage_buffers_per_shader_stage", operands.len(), operands.join(", "))]
    TooManyBuffers {
        /// The operands that need one each.
        operands: Vec<&'static str>,
        /// How many the device allows.
        available: u32,
    },
    /// The variant cannot do what the specification asks for.
    #[error("{variant} cannot do this: {why}")]
    Unsupported {
        /// The variant's name.
        variant: String,
        /// What it cannot do.
        why: &'static str,
    },
    /// A number in the specification is out of its domain.
    #[error("{what} must be {expected}, not {got}")]
    BadOption {
        /// The option.
        what: &'static str,
        /// Its domain.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// No variant has this name.
    #[error("no variant is called {0:?}; `onesum wgsl --list` lists them")]
    UnknownVariant(String),
    /// The device refused the shader or the pipeline: a fault of the driver, or of this crate.
    #[error("the device refused {variant}: {message}")]
    Device {
        /// The variant's name.
        variant: String,
        /// What wgpu said.
        message: String,
    },
}

/// Why operands cannot be bound to a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Two operands do not fit together.
    #[error("{what}: expected {expected}, got {got}")]
    ShapeMismatch {
        /// The operand.
        what: &'static str,
        /// The shape it should have.
        expected: String,
        /// The shape it has.
        got: String,
    },
    /// The specification names an operand that was not given.
    #[error("{what}: the specification asks for it, but it was not given")]
    Missing {
        /// The operand.
        what: &'static str,
    },
    /// An operand was given that the specification does not name.
    #[error("{what}: given, but the specification does not ask for it")]
    Unexpected {
        /// The operand.
        what: &'static str,
    },
    /// The window reaches past the end of its buffer.
    #[error("{what}: the window ends at byte {end}, its buffer has {size}")]
    OutOfBuffer {
        /// The operand.
        what: &'static str,
        /// Where the window ends.
        end: u64,
        /// How long the buffer is.
        size: u64,
    },
    /// The rows of a window overlap each other.
    #[error("{what}: rows of {cols} columns, but only {stride} elements from row to row")]
    RowsOverlap {
        /// The operand.
        what: &'static str,
        /// Its columns.
        cols: u32,
        /// Its stride.
        stride: u32,
    },
    /// The buffer was made without `wgpu::BufferUsages::STORAGE`.
    #[error("{what}: its buffer lacks the usage STORAGE")]
    NotStorage {
        /// The operand.
        what: &'static str,
    },
    /// An output overlaps another operand, and is not exactly the input either.
    #[error("{what} overlaps {other}: give disjoint windows, or where the kernel works in place the very same one")]
    Overlap {
        /// The output.
        what: &'static str,
        /// The operand it overlaps.
        other: &'static str,
    },
    /// Two windows of one buffer that is written to are disjoint, but so close that their bindings overlap.
    #[error(
        "{what} and {other} are windows of one buffer, less than the binding alignment of {alignment} bytes apart: move one of them"
    )]
    TooClose {
        /// The output.
        what: &'static str,
        /// The other operand.
        other: &'static str,
        /// The device's alignment of bindings.
        alignment: u32,
    },
    /// One window is larger than the device lets a binding be.
    #[error("{what}: needs a binding of {needed} bytes, this device allows {available}: bind fewer rows at a time")]
    WindowTooLarge {
        /// The operand.
        what: &'static str,
        /// Bytes that the binding would have.
        needed: u64,
        /// Bytes that the device allows.
        available: u64,
    },
    /// The variant takes fewer columns.
    #[error(
        "{variant} takes at most {max} columns, not {cols}: leave the choice to Variant::select, or name a variant that splits rows"
    )]
    TooManyColumns {
        /// The variant's name.
        variant: String,
        /// What was to be bound.
        cols: u32,
        /// What it takes.
        max: u32,
    },
    /// More rows than one dispatch can hold.
    #[error("{rows} rows need {groups} workgroups, one dispatch holds {available}: bind fewer rows at a time")]
    TooManyRows {
        /// What was to be bound.
        rows: u32,
        /// Workgroups that takes.
        groups: u64,
        /// What the device allows.
        available: u64,
    },
    /// The variant loads and stores four elements at a time, and the operand does not allow it.
    #[error(
        "{what}: {variant} wants offset, columns and stride in multiples of 4; set Shape::quads to false, or name an x1 variant"
    )]
    NotInQuads {
        /// The operand.
        what: &'static str,
        /// The variant's name.
        variant: String,
    },
    /// A number in the operands is out of its domain.
    #[error("{what} must be {expected}, not {got}")]
    BadOption {
        /// What.
        what: &'static str,
        /// Its domain.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The device is lost or out of memory, or a buffer is destroyed or another device's. (wgpu itself panics on a buffer of
    /// another `wgpu::Instance`.)
    #[error("the device refused to bind: {message}")]
    Device {
        /// What wgpu said.
        message: String,
    },
    /// A form of the kernel that is only built when operands call for it could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What a field of a table of entry points is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A number or an address of data.
    Data,
    /// An entry point that must be there.
    Required,
    /// An entry point that may be null.
    Optional,
}

/// One field of a table of entry points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: FieldKind,
    /// Bytes from the beginning of the table.
    pub offset: usize,
    /// Bytes of it.
    pub size: usize,
    /// Its type as it stands in the definition; of an entry point the function's.
    pub signature: &'static str,
}

/// The type of a field of a kind.
macro_rules! field_type {
    (data $type:ty) => { $type };
    ($kind:ident $type:ty) => { Option<$type> };
}

macro_rules! field_kind {
    (data) => {
        $crate::FieldKind::Data
    };
    (required) => {
        $crate::FieldKind::Required
    };
    (optional) => {
        $crate::FieldKind::Optional
    };
}

/// Defines a table of entry points once: the structure, and the list of its fields from which the loader
/// makes its checks and the tests theirs.
macro_rules! entry_points {
    ($(#[$about:meta])* pub struct $table:ident {
        $($(#[$doc:meta])* $kind:ident $field:ident: $type:ty,)*
    }) => {
        $(#[$about])*
        #[repr(C)]
        pub struct $table {
            $($(#[$doc])* pub $field: field_type!($kind $type),)*
        }

        impl $table {
            /// Every field, in the order in which they lie.
            pub const FIELDS: &'static [$crate::Field] = &[
                $($crate::Field {
                    name: stringify!($field),
                    kind: field_kind!($kind),
                    offset: core::mem::offset_of!($table, $field),
                    size: size_of::<field_type!($kind $type)>(),
                    signature: stringify!($type),
                },)*
            ];
        }
    };
}

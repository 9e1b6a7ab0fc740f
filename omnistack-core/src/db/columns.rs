//! The values of many rows as one array for each column, which PostgreSQL makes rows of again with `unnest`.

use sqlx::{
    Encode, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo, Postgres, types::Oid},
};

/// The built-in types of values that can be bound, and the types of their arrays, as in PostgreSQL's `pg_type.dat`: these
/// numbers never change.
const ARRAYS: [(u32, u32); 17] = [
    (16, 1000),   // boolean
    (17, 1001),   // bytea
    (20, 1016),   // bigint
    (21, 1005),   // smallint
    (23, 1007),   // integer
    (25, 1009),   // text
    (114, 199),   // json
    (700, 1021),  // real
    (701, 1022),  // double precision
    (1043, 1015), // character varying
    (1082, 1182), // date
    (1083, 1183), // time
    (1114, 1115), // timestamp
    (1184, 1185), // timestamptz
    (1700, 1231), // numeric
    (2950, 2951), // uuid
    (3802, 3807), // jsonb
];

/// Values in the order of the rows, sorted into columns.
pub(super) struct PgColumns {
    columns: Vec<PgColumn>,
    /// Number of values.
    count: usize,
}

/// The values of a column, encoded as the elements of an array.
#[derive(Default)]
struct PgColumn {
    elements: PgArgumentBuffer,
    /// The type of the elements. `None` before the first one.
    element: Option<PgTypeInfo>,
    has_nulls: bool,
    count: i32,
}

impl PgColumns {
    pub(super) fn new(columns: usize) -> Self {
        Self { columns: std::iter::repeat_with(PgColumn::default).take(columns).collect(), count: 0 }
    }

    /// Adds the next value of the current row.
    pub(super) fn add<T>(&mut self, value: T) -> Result<(), BoxDynError>
    where
        T: for<'q> Encode<'q, Postgres> + Type<Postgres>,
    {
        let place = self.count % self.columns.len().max(1);
        self.count += 1;
        self.columns.get_mut(place).map_or(Ok(()), |column| column.add(value))
    }

    /// Returns an argument for each column: an array of its values.
    pub(super) fn into_arguments(self) -> Result<PgArguments, BoxDynError> {
        let mut args = PgArguments::default();
        for column in self.columns {
            sqlx::Arguments::add(&mut args, column.into_array()?)?;
        }
        Ok(args)
    }
}

impl PgColumn {
    fn add<T>(&mut self, value: T) -> Result<(), BoxDynError>
    where
        T: for<'q> Encode<'q, Postgres> + Type<Postgres>,
    {
        self.element.get_or_insert_with(|| Encode::<Postgres>::produces(&value).unwrap_or_else(T::type_info));
        self.count += 1;
        // An element is its length and its bytes, or the length -1 if it is null.
        let start = self.elements.len();
        self.elements.extend_from_slice(&[0; 4]);
        let length = match Encode::<Postgres>::encode(value, &mut self.elements)? {
            IsNull::No => i32::try_from(self.elements.len() - start - 4)?,
            IsNull::Yes => {
                self.has_nulls = true;
                -1
            }
        };
        self.elements[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn into_array(self) -> Result<PgArray, BoxDynError> {
        let Self { elements, element, has_nulls, count } = self;
        let element = element.ok_or("a column has no values")?;
        let find = |oid: Oid| ARRAYS.into_iter().find(|(known, _)| *known == oid.0);
        let found = element.oid().and_then(find);
        let (element, array) =
            found.ok_or_else(|| format!("values of type {element:?} can't be elements of an array"))?;
        let mut bytes = Vec::with_capacity(20 + elements.len());
        // The number of dimensions, whether there are nulls, the type of the elements, their number, the first index.
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        bytes.extend_from_slice(&i32::from(has_nulls).to_be_bytes());
        bytes.extend_from_slice(&element.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&1_i32.to_be_bytes());
        bytes.extend_from_slice(&elements);
        Ok(PgArray { bytes, type_info: PgTypeInfo::with_oid(Oid(array)) })
    }
}

/// An encoded array.
struct PgArray {
    bytes: Vec<u8>,
    type_info: PgTypeInfo,
}

impl Type<Postgres> for PgArray {
    /// Each array says its own type.
    fn type_info() -> PgTypeInfo {
        String::array_type_info()
    }
}

impl Encode<'_, Postgres> for PgArray {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.type_info.clone())
    }

    fn size_hint(&self) -> usize {
        self.bytes.len()
    }
}

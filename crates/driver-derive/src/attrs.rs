//! What the derives read from a type: its named fields, doc comments, schemas.

use syn::punctuated::Punctuated;
use syn::{Attribute, Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Lit, Meta, Result, Token};

/// The named fields of a structure.
pub(crate) fn fields(input: &DeriveInput) -> Result<&Punctuated<Field, Token![,]>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(&fields.named),
            _ => Err(Error::new_spanned(input, "needs a structure with named fields")),
        },
        _ => Err(Error::new_spanned(input, "needs a structure with named fields")),
    }
}

/// The first paragraph of the doc comment, on one line.
pub(crate) fn help(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => text(&pair.value),
        _ => None,
    });
    let lines: Vec<String> = lines.map(|l| l.trim().to_owned()).take_while(|l| !l.is_empty()).collect();
    lines.join(" ")
}

/// The text of a string literal.
pub(crate) fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(s), .. }) => Some(s.value()),
        _ => None,
    }
}

/// Refuses a schema that is not `NAME/N`.
pub(crate) fn check_schema(literal: &syn::LitStr) -> Result<()> {
    let value = literal.value();
    let ok = value.split_once('/').is_some_and(|(name, number)| {
        let name_ok = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        !name.is_empty() && name_ok && number.parse::<u32>().is_ok_and(|n| n > 0)
    });
    if ok { Ok(()) } else { Err(Error::new_spanned(literal, "a schema is NAME/N, for example \"file/1\"")) }
}

//! `#[derive(Params)]` and `#[derive(ParamType)]`.

use crate::attrs::{fields, help};
use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::meta::ParseNestedMeta;
use syn::parse::ParseStream;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, LitStr, Result, Token};

/// What `#[param(…)]` of one field says.
#[derive(Default)]
struct Param {
    default: Option<String>,
    range: Option<String>,
    unit: Option<String>,
    class: Option<String>,
    scope: Option<String>,
    required: bool,
}

impl Param {
    fn parse(field: &Field) -> Result<Param> {
        let mut param = Param::default();
        for attr in field.attrs.iter().filter(|a| a.path().is_ident("param")) {
            attr.parse_nested_meta(|meta| param.item(&meta))?;
        }
        if param.required && param.default.is_some() {
            return Err(Error::new_spanned(field, "required, and yet it has a default"));
        }
        let optional = field.ty.to_token_stream().to_string().starts_with("Option");
        if !param.required && param.default.is_none() && !optional {
            let text = "say `default = …` or `required` in #[param(…)], or make it an Option";
            return Err(Error::new_spanned(field, text));
        }
        Ok(param)
    }

    fn item(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
        let words: &[&str] = match name.as_str() {
            "required" => {
                self.required = true;
                return Ok(());
            }
            "class" => &["live", "reinit", "reload"],
            "scope" => &["port", "adapter"],
            _ => &[],
        };
        let value = value(meta.value()?)?;
        if value.contains('\0') {
            return Err(meta.error("a NUL byte ends an entry of the manifest"));
        }
        if !words.is_empty() && !words.contains(&value.as_str()) {
            return Err(meta.error(format!("{name} is one of {}", words.join(", "))));
        }
        let slot = match name.as_str() {
            "default" => &mut self.default,
            "range" => &mut self.range,
            "unit" => &mut self.unit,
            "class" => &mut self.class,
            "scope" => &mut self.scope,
            _ => return Err(meta.error("not one of default, range, unit, class, scope, required")),
        };
        *slot = Some(value);
        Ok(())
    }

    /// Pieces of the manifest's entries for the field.
    fn pieces(&self, name: &str, field: &Field) -> TokenStream {
        let ty = &field.ty;
        let key = format!("param.{name}=");
        let mut rest = String::new();
        let help = help(&field.attrs);
        let entries = [
            ("range", &self.range),
            ("default", &self.default),
            ("unit", &self.unit),
            ("class", &self.class),
            ("scope", &self.scope),
            ("required", &self.required.then(|| "true".to_owned())),
            ("help", &(!help.is_empty()).then_some(help)),
        ];
        for (what, value) in entries {
            if let Some(value) = value {
                rest.push_str(&format!("param.{name}.{what}={value}\0"));
            }
        }
        let choices = quote!(<#ty as ::steadfast_driver::ParamType>::CHOICES);
        let range_key = format!("param.{name}.range=");
        quote! {
            #key, <#ty as ::steadfast_driver::ParamType>::KIND, "\0",
            ::steadfast_driver::private::only_if(!#choices.is_empty(), #range_key), #choices,
            ::steadfast_driver::private::only_if(!#choices.is_empty(), "\0"),
            #rest,
        }
    }
}

/// What stands behind the `=`: a string, or anything up to the next comma as it is written. (As an
/// expression a range would not parse without the whole grammar of Rust.)
fn value(input: ParseStream<'_>) -> Result<String> {
    if input.peek(LitStr) {
        return Ok(input.parse::<LitStr>()?.value());
    }
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        tokens.extend(TokenStream::from(input.parse::<TokenTree>()?));
    }
    Ok(tokens.to_string().replace(' ', ""))
}

/// Derives `Params`.
pub(crate) fn params(input: &DeriveInput) -> Result<TokenStream> {
    let ty = &input.ident;
    let mut pieces = TokenStream::new();
    let mut loads = TokenStream::new();
    for field in fields(input)? {
        let ident = field.ident.as_ref().ok_or_else(|| Error::new_spanned(field, "needs a name"))?;
        let name = ident.to_string();
        let name = name.trim_start_matches("r#");
        pieces.extend(Param::parse(field)?.pieces(name, field));
        loads.extend(quote!(#ident: port.param(#name)?,));
    }
    Ok(quote! {
        impl ::steadfast_driver::Params for #ty {
            const MANIFEST: &'static [&'static str] = &[#pieces];
            fn load(port: &::steadfast_driver::Port<'_>) -> ::steadfast_driver::Result<Self> {
                ::core::result::Result::Ok(#ty { #loads })
            }
        }
    })
}

/// Derives `ParamType` for an enumeration.
pub(crate) fn param_type(input: &DeriveInput) -> Result<TokenStream> {
    let ty = &input.ident;
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(input, "needs an enumeration"));
    };
    let mut names = Vec::new();
    let mut arms = TokenStream::new();
    for (index, variant) in data.variants.iter().enumerate() {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "a choice has no fields"));
        }
        let ident = &variant.ident;
        let index = index as u32;
        names.push(kebab(&ident.to_string()));
        arms.extend(quote!(#index => ::core::option::Option::Some(#ty::#ident),));
    }
    let choices = names.join(",");
    Ok(quote! {
        impl ::steadfast_driver::ParamType for #ty {
            const KIND: &'static str = "enum";
            const CHOICES: &'static str = #choices;
            fn from_value(value: ::steadfast_driver::ParamValue<'_>) -> ::core::option::Option<Self> {
                let ::steadfast_driver::ParamValue::Choice(index) = value else {
                    return ::core::option::Option::None;
                };
                match index { #arms _ => ::core::option::Option::None }
            }
        }
    })
}

/// `LowLatency` as `low-latency`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text
}

//! The table of methods as the descriptors that reflection serves: what protoc makes of
//! `proto/gateway.proto`.

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};

use super::methods::{METHODS, Method, Run};

/// The protobuf package.
pub(super) const PACKAGE: &str = "proto";

/// Every message and service.
pub(super) fn descriptors() -> FileDescriptorSet {
    let mut file = FileDescriptorProto {
        name: Some("gateway.proto".into()),
        package: Some(PACKAGE.into()),
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    for method in METHODS {
        file.service.push(service(method));
        file.message_type.push(request(method));
        file.message_type.push(response(method));
    }
    FileDescriptorSet { file: vec![file] }
}

fn service(method: &Method) -> ServiceDescriptorProto {
    let name = method.name;
    let call = MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(format!(".{PACKAGE}.{name}Request")),
        output_type: Some(format!(".{PACKAGE}.{name}Response")),
        ..Default::default()
    };
    ServiceDescriptorProto { name: Some(name.into()), method: vec![call], options: None }
}

fn request(method: &Method) -> DescriptorProto {
    let fields = method.takes.iter().map(|name| (*name, Type::String, Label::Optional));
    message(format!("{}Request", method.name), fields)
}

fn response(method: &Method) -> DescriptorProto {
    let (kind, label) = match method.run {
        Run::Flag(_) | Run::Sent(_) => (Type::Bool, Label::Optional),
        Run::Count(_) => (Type::Int32, Label::Optional),
        Run::List(_) => (Type::String, Label::Repeated),
        Run::Text(_) => (Type::String, Label::Optional),
    };
    let second = match method.run {
        Run::Sent(_) => Some(("arrive", Type::Int32, Label::Optional)),
        _ => None,
    };
    let fields = std::iter::once((method.gives, kind, label)).chain(second);
    message(format!("{}Response", method.name), fields)
}

fn message<'a>(
    name: String,
    fields: impl Iterator<Item = (&'a str, Type, Label)>,
) -> DescriptorProto {
    let field = fields.zip(1..).map(|((name, kind, label), number)| {
        let mut field = FieldDescriptorProto {
            name: Some(name.into()),
            number: Some(number),
            json_name: Some(name.into()),
            ..Default::default()
        };
        field.set_type(kind);
        field.set_label(label);
        field
    });
    DescriptorProto { name: Some(name), field: field.collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A descriptor as protobuf's own language.
    fn text(message: &DescriptorProto) -> String {
        let fields: Vec<_> = message
            .field
            .iter()
            .map(|field| {
                let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
                let kind = match field.r#type() {
                    Type::String => "string",
                    Type::Bool => "bool",
                    Type::Int32 => "int32",
                    other => panic!("no field is {other:?}"),
                };
                format!(" {repeated}{kind} {} = {};", field.name(), field.number())
            })
            .collect();
        let space = if fields.is_empty() { "" } else { " " };
        format!("message {} {{{}{space}}}\n", message.name(), fields.concat())
    }

    #[test]
    fn the_published_file_says_the_same() {
        let mut expected = format!("syntax = \"proto3\";\npackage {PACKAGE};\n");
        for method in METHODS {
            let name = method.name;
            expected += &format!(
                "service {name} {{ rpc {name}({name}Request) returns ({name}Response); }}\n"
            );
            expected += &text(&request(method));
            expected += &text(&response(method));
        }
        let published = include_str!("../../../proto/gateway.proto");
        let lines = published.lines().filter(|line| !line.is_empty() && !line.starts_with("//"));
        let published: String = lines.map(|line| format!("{line}\n")).collect();
        assert_eq!(published, expected);
    }
}

//! The kinds of refusal that qubesd knows.

use std::fmt;

macro_rules! classes {
    ($($name:ident),* $(,)?) => {
        /// The class name in an error answer (spec/admin-api.md 3.1). The variants carry qubesd's own names.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum ErrorClass {
            $($name,)*
            /// A class that this version does not know.
            Other(String),
        }

        impl ErrorClass {
            /// The class name as qubesd writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for ErrorClass {
            fn from(name: &str) -> Self {
                match name {
                    $(stringify!($name) => Self::$name,)*
                    _ => Self::Other(name.to_owned()),
                }
            }
        }
    };
}

classes! {
    QubesException,
    ProtocolError,
    PermissionDenied,
    QubesVMNotFoundError,
    QubesVMInvalidUUIDError,
    QubesVMAlreadyExistsError,
    QubesVMError,
    QubesVMInUseError,
    QubesVMNotStartedError,
    QubesVMNotRunningError,
    QubesVMNotPausedError,
    QubesVMCancelledPauseError,
    QubesVMNotSuspendedError,
    QubesVMNotHaltedError,
    QubesVMShutdownTimeoutError,
    QubesNoTemplateError,
    QubesMemoryError,
    QubesValueError,
    QubesPropertyValueError,
    QubesNoSuchPropertyError,
    QubesFeatureNotFoundError,
    QubesTagNotFoundError,
    QubesInvalidTagError,
    QubesLabelNotFoundError,
    QubesPoolInUseError,
    QubesNotImplementedError,
    QubesVolumeRevisionNotFoundError,
    StoragePoolException,
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorClass;

    #[test]
    fn names_round_trip() {
        assert_eq!(ErrorClass::from("QubesVMNotFoundError"), ErrorClass::QubesVMNotFoundError);
        assert_eq!(ErrorClass::from("Strange").as_str(), "Strange");
    }
}

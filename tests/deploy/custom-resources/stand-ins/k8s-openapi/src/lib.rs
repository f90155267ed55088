//! In place of k8s-openapi, all of Kubernetes' types: the definitions use two of them, one of which is part of no `spec`.

pub mod apimachinery {
    pub mod pkg {
        pub mod apis {
            pub mod meta {
                pub mod v1 {
                    use serde::{Deserialize, Serialize};

                    /// Of a `status`, which is not read.
                    #[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
                    pub struct Condition {}
                }
            }
        }
        pub mod util {
            pub mod intstr {
                use serde::{Deserialize, Serialize};

                /// A number, or text such as a percentage or the name of a port.
                #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
                #[serde(untagged)]
                pub enum IntOrString {
                    Int(i32),
                    String(String),
                }

                impl Default for IntOrString {
                    fn default() -> Self {
                        Self::Int(0)
                    }
                }
            }
        }
    }
}

// What a person reads when the gateway refuses a tool call: the official Go SDK's error or tool result.
//
// Arguments: the MCP endpoint, a bearer token, the tool, its arguments (JSON). Prints {"text": ...}.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type withToken struct{ token string }

func (t withToken) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+t.token)
	return http.DefaultTransport.RoundTrip(request)
}

func shown() string {
	ctx := context.Background()
	client := mcp.NewClient(&mcp.Implementation{Name: "refused", Version: "1"}, nil)
	transport := &mcp.StreamableClientTransport{
		Endpoint:   os.Args[1],
		HTTPClient: &http.Client{Transport: withToken{os.Args[2]}},
		MaxRetries: -1,
	}
	session, err := client.Connect(ctx, transport, nil)
	if err != nil {
		return err.Error()
	}
	defer session.Close()
	var arguments map[string]any
	if err := json.Unmarshal([]byte(os.Args[4]), &arguments); err != nil {
		panic(err)
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: os.Args[3], Arguments: arguments})
	if err != nil {
		return err.Error()
	}
	if text, ok := result.Content[0].(*mcp.TextContent); ok {
		return text.Text
	}
	return ""
}

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"text": shown()}); err != nil {
		panic(err)
	}
}
